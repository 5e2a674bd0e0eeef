"""Audit of DICOM files: does anything in them still say who the patient is?

The measure is the Basic Application Level Confidentiality Profile (DICOM PS3.15, Annex E). Its Table E.1-1
says of each attribute what a de-identifier does with it, and which options of the profile let it stay; the
table is ``confidentiality_profile.tsv`` beside this module (622 attributes, edition 2024c, and private
attributes). A file may declare the options that it was made under (0012,0064).

What is found has a severity:

- ``fail``: an attribute that no option lets stay, or a date, place or device whose option is not declared,
  with a value that is no dummy; private attributes without the option for safe ones; pixels declared to
  show identifying text or a recognisable face; a file that cannot be read.
- ``warning``: descriptions and characteristics of the patient without their option; pixels in which
  something looks like text.
- ``note``: what a declared option lets stay, dummies by the rules below, and unique identifiers.

Dummies are known by rule. An identifier or name is one if the file declares that the identity was removed
(0012,0062), or if it is nothing but a UUID or a hash (16 hexadecimal digits or more, 32 if there is no letter
among them); a date is one if it is 1 January of 1900 or 1901, a time if it is midnight. An audit cannot prove
that a file is anonymous; it finds what was forgotten.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import cv2
import numpy as np
import pandas as pd
from pydicom.datadict import dictionary_description

from radtransfer.data import dicom
from radtransfer.data.delimited import read_delimited
from radtransfer.data.formats.dicom import dicom_files
from radtransfer.data.images import DecodeError
from radtransfer.errors import DataError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pydicom import DataElement, Dataset

    from radtransfer.data.images import Grey

Severity = Literal["fail", "warning", "note"]

OPTIONS: Final = {
    "111": "safe_private",
    "110": "uids",
    "109": "device",
    "112": "institution",
    "108": "characteristics",
    "106": "full_dates",
    "107": "modified_dates",
    "105": "descriptors",
    "104": "structured_content",
    "103": "graphics",
}
"""Options of the profile: last digits of their code (113xxx, PS3.16 CID 7050), and column of the table."""

UNDECLARED: Final[dict[str, Severity]] = {
    "uids": "note",
    "characteristics": "warning",
    "descriptors": "warning",
    "structured_content": "warning",
    "graphics": "warning",
    "full_dates": "fail",
    "modified_dates": "fail",
    "device": "fail",
    "institution": "fail",
    "safe_private": "fail",
}
"""What an attribute is whose option is not declared; of several options the mildest counts."""

TEXT_MIN_GLYPHS: Final = 5
"""Marks in a row, of one height, that look like a word; shorter ones are sides and numbers of exposures."""

TEXT_HEIGHTS: Final = (6, 60)
"""Pixels: height of marks that may be letters."""

TEXT_STROKE: Final = 9
"""Pixels: width of strokes that are looked for by their contrast; wider ones are found if they are white."""

TEXT_CONTRAST: Final = 45
TEXT_BRIGHTNESS: Final = 140
"""Grey levels that a stroke has at least, above its surroundings and at all."""

_SEVERITIES: Final[tuple[Severity, ...]] = ("fail", "warning", "note")
_OPAQUE: Final = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?=\d*[a-f])[0-9a-f]{16,}|[0-9a-f]{32,}", re.IGNORECASE
)
_DUMMY_DATE: Final = re.compile(r"190[01]0101(0+(\.0*)?)?")
_MIDNIGHT: Final = re.compile(r"0+(\.0*)?")
_TEMPORAL: Final = ("DA", "DT", "TM")
_PIXELS: Final = 0x7FE00010


@dataclass(frozen=True)
class Rule:
    """Row of Table E.1-1.

    Attributes
    ----------
    name : str
    action : str
        What the basic profile does: X remove, Z empty, D dummy, U replace the identifier, C clean, K keep;
        of several the first that the object's definition allows.
    options : tuple of str
        Options that let the attribute stay, as it is or cleaned.
    """

    name: str
    action: str
    options: tuple[str, ...]


@dataclass(frozen=True)
class Finding:
    """Something in a file that may identify the patient.

    Attributes
    ----------
    path : str
        File, relative to the folder audited.
    tag : str
        ``(gggg,eeee)``; in a sequence after the tags of the sequences around it.
    name : str
    severity : {"fail", "warning", "note"}
    reason : str
    value : str
        Kind and length of the value; never the value.
    """

    path: str
    tag: str
    name: str
    severity: Severity
    reason: str
    value: str


@dataclass(frozen=True)
class AuditReport:
    """What was found in the DICOM files of a folder.

    Attributes
    ----------
    folder : str
    n_files : int
    findings : tuple of Finding
    """

    folder: str
    n_files: int
    findings: tuple[Finding, ...]

    def of(self, severity: Severity) -> tuple[Finding, ...]:
        """Findings of one severity."""
        return tuple(finding for finding in self.findings if finding.severity == severity)

    @property
    def publishable(self) -> bool:
        """Whether nothing fails."""
        return not self.of("fail")

    def table(self) -> pd.DataFrame:
        """Findings by attribute and reason, the gravest first.

        Returns
        -------
        DataFrame
            ``severity``, ``tag``, ``name``, ``reason``, ``files`` (how many), ``value`` (kind and length in
            the first), ``first`` (file).
        """
        alike: dict[tuple[Severity, str, str, str], list[Finding]] = {}
        for f in self.findings:
            alike.setdefault((f.severity, f.tag, f.name, f.reason), []).append(f)
        rows = [
            (*kind, len({f.path for f in found}), found[0].value, found[0].path)
            for kind, found in sorted(alike.items(), key=lambda i: (_SEVERITIES.index(i[0][0]), i[0]))
        ]
        return pd.DataFrame(rows, columns=["severity", "tag", "name", "reason", "files", "value", "first"])

    def summary(self) -> str:
        """One line."""
        counts = ", ".join(f"{len({f.path for f in self.of(s)})} with {s}s" for s in _SEVERITIES)
        return f"{self.folder}: {self.n_files} DICOM files; {counts}"


def audit_folder(folder: Path) -> AuditReport:
    """Audit all DICOM files below a folder.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    AuditReport

    Raises
    ------
    InputError
        If there is no such folder, or no DICOM file in it.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}")
    paths = dicom_files(folder)
    if not paths:
        raise InputError(
            f"{folder} has no DICOM file", hint="files are known by the letters DICM at byte 128"
        )
    return audit(paths, folder)


def audit(paths: Iterable[Path], folder: Path) -> AuditReport:
    """Audit some files.

    Parameters
    ----------
    paths : iterable of Path
        Below ``folder``.
    folder : Path

    Returns
    -------
    AuditReport
    """
    audited = [(path, path.relative_to(folder).as_posix()) for path in paths]
    found = [finding for path, name in audited for finding in audit_file(path, name)]
    return AuditReport(str(folder), len(audited), tuple(found))


def audit_file(path: Path, name: str = "") -> list[Finding]:
    """Audit one file.

    Parameters
    ----------
    path : Path
    name : str
        What the findings call it; by default its file name.

    Returns
    -------
    list of Finding
    """
    name = name or path.name
    try:
        dataset = dicom.read_dataset(path)
        return [*_audit_header(dataset, name), *_audit_pixels(path, dataset, name)]
    except Exception:  # pydicom reads a value when it is asked for it, and raises nearly every type there is
        return [Finding(name, "", "", "fail", "the file cannot be read, so nothing is known of it", "")]


def assert_publishable(report: AuditReport) -> None:
    """Refuse to publish what comes from files that fail their audit.

    Raises
    ------
    DataError
        If a file fails; names the first and its attribute.
    """
    failed = report.of("fail")
    if failed:
        first, n_files = failed[0], len({finding.path for finding in failed})
        what = f"{first.name} {first.tag}: " if first.tag else ""
        raise DataError(
            f"{report.folder}: {n_files} of {report.n_files} DICOM files may identify patients, "
            f"first {first.path} ({what}{first.reason})",
            hint="de-identify them; radtransfer data audit lists what was found",
        )


@cache
def profile() -> dict[str, Rule]:
    """Table E.1-1 by tag: ``(0010,0010)``, ``(60xx,3000)``, or ``private``."""
    path = Path(__file__).with_name("confidentiality_profile.tsv")
    table = read_delimited(path, separator="\t", required=["tag", "name", "basic", *OPTIONS.values()])
    return {
        row["tag"]: Rule(row["name"], row["basic"], tuple(o for o in OPTIONS.values() if pd.notna(row[o])))
        for row in table.to_dict("records")
    }


def looks_like_text(image: Grey) -> bool:
    """Whether pixels seem to hold writing.

    Parameters
    ----------
    image : ndarray of uint8, shape (height, width)

    Returns
    -------
    bool
        True if five or more bright marks of nearly one height stand in a row, with gaps narrower than a
        letter is high. Marks are what is nearly white, or what is bright and narrow (white top-hat). Sides
        and exposure numbers do not count, and faint or dark writing is not found.

    Notes
    -----
    Measured on the study's images: a line of 19 letters, 10 to 32 px high and put anywhere, is found on at
    least 9 in 10 chest radiographs and 8 in 10 MR slices, and on 5 to 8 in 10 head CT slices, where letters
    run into the skull. Of 635 images as they are 1 is flagged, a radiograph on which PORTABLE is written.
    """
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (TEXT_STROKE, TEXT_STROKE))
    narrow = cv2.morphologyEx(image, cv2.MORPH_TOPHAT, kernel) >= TEXT_CONTRAST
    white = image >= max(250, int(image.max()) - 2)
    return any(_has_row_of_marks(mask) for mask in (narrow & (image >= TEXT_BRIGHTNESS), white))


def _has_row_of_marks(mask: Any) -> bool:
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    left, top, width, height = stats[1:, : cv2.CC_STAT_HEIGHT + 1].T
    low, high = TEXT_HEIGHTS
    letter = (height >= low) & (height <= high) & (width <= 1.5 * height)
    left, top, width, height = (values[letter] for values in (left, top, width, height))
    return any(
        _letters_in_row(left, top, width, height, first) >= TEXT_MIN_GLYPHS for first in range(len(left))
    )


def _letters_in_row(left: Any, top: Any, width: Any, height: Any, first: int) -> int:
    """Length of the row of marks that begins with one of them."""
    level = np.abs(top + height / 2 - (top[first] + height[first] / 2)) <= 0.3 * height[first]
    alike = np.abs(height - height[first]) <= 0.35 * height[first]
    row = np.flatnonzero(level & alike & (left >= left[first]))
    row = row[np.argsort(left[row])]
    gaps = left[row][1:] - (left[row] + width[row])[:-1]
    broken = np.flatnonzero((gaps > height[first]) | (gaps < -1))
    return int(broken[0]) + 1 if len(broken) else len(row)


def _audit_header(dataset: Dataset, name: str) -> Iterator[Finding]:
    declared = _declared(dataset)
    removed = str(dataset.get("PatientIdentityRemoved", "")).upper() == "YES"
    for place, element in _elements(dataset, ()):
        rule = _rule(element)
        if rule is None or element.tag == _PIXELS or _is_empty(element):
            continue
        severity, reason = _judge(element, rule, declared, removed)
        tag = "/".join((*place, _tag(element)))
        yield Finding(name, tag, _name(element, rule), severity, reason, _kind(element))
    if str(dataset.get("BurnedInAnnotation", "")).upper() == "YES":
        yield Finding(name, "(0028,0301)", "Burned In Annotation", "fail", "declares identifying text", "YES")
    if str(dataset.get("RecognizableVisualFeatures", "")).upper() == "YES":
        reason = "declares that the patient can be recognised"
        yield Finding(name, "(0028,0302)", "Recognizable Visual Features", "fail", reason, "YES")


def _audit_pixels(path: Path, dataset: Dataset, name: str) -> list[Finding]:
    """Look at the first frame, whatever the header declares."""
    if not dataset.get("Rows"):
        return []
    try:
        image = dicom.read_frame(path)
    except DecodeError:
        reason = "the pixels do not decode, so nothing is known of them"
        return [Finding(name, "(7FE0,0010)", "Pixel Data", "warning", reason, "")]
    if not looks_like_text(image):
        return []
    return [
        Finding(name, "(7FE0,0010)", "Pixel Data", "warning", "something in the image looks like text", "")
    ]


def _judge(element: DataElement, rule: Rule, declared: frozenset[str], removed: bool) -> tuple[Severity, str]:
    if kept := declared & set(rule.options):
        return "note", f"stays by a declared option ({', '.join(sorted(kept))})"
    if rule.action == "U":
        return "note", "a unique identifier; whether it is the original cannot be seen"
    if dummy := _dummy(element, removed and rule.action != "X"):
        return "note", dummy
    what = {"X": "should be removed", "Z": "should be empty", "D": "should be a dummy"}[rule.action[0]]
    if not rule.options:
        return "fail", what
    severity = max((UNDECLARED[option] for option in rule.options), key=_SEVERITIES.index)
    return severity, f"{what}, unless an option is declared ({', '.join(rule.options)})"


def _dummy(element: DataElement, replaced: bool) -> str:
    """Why a value is taken for a dummy, or nothing."""
    text = "" if element.VR == "SQ" else str(element.value).strip()
    if element.VR in _TEMPORAL:
        pattern = _MIDNIGHT if element.VR == "TM" else _DUMMY_DATE
        return "a dummy by its value" if pattern.fullmatch(text.replace(":", "")) else ""
    if _OPAQUE.fullmatch(text):
        return "a code that says nothing by itself"
    return "taken for a dummy: the file declares that the identity was removed" if replaced else ""


def _elements(dataset: Dataset, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], DataElement]]:
    """All elements, also those in sequences."""
    if not place and "file_meta" in dataset.__dict__:
        yield from ((place, element) for element in dataset.file_meta)
    for element in dataset:
        yield place, element
        if element.VR == "SQ":
            for part in element.value:
                yield from _elements(part, (*place, _tag(element)))


def _rule(element: DataElement) -> Rule | None:
    group, number = element.tag.group, element.tag.element
    rules = profile()
    if element.tag.is_private:
        # a private creator only names who reserved the block
        return None if element.tag.is_private_creator else rules["private"]
    if group & 0xFF00 == 0x5000:
        return rules["(50xx,xxxx)"]
    if group & 0xFF00 == 0x6000:
        return rules.get(f"(60xx,{number:04X})")
    return rules.get(_tag(element))


def _is_empty(element: DataElement) -> bool:
    if element.VR == "SQ":
        return not element.value
    return element.value is None or not str(element.value).strip(" \0")


def _declared(dataset: Dataset) -> frozenset[str]:
    return frozenset(OPTIONS[code] for code in _codes(dataset) if code in OPTIONS)


def _codes(dataset: Dataset) -> set[str]:
    """Last three digits of the codes of the profile that a file declares."""
    items = dataset.get("DeidentificationMethodCodeSequence") or []
    codes = {str(item.get("CodeValue", "")) for item in items}
    return {code[3:] for code in codes if code.startswith("113") and len(code) == 6}


def _tag(element: DataElement) -> str:
    return f"({element.tag.group:04X},{element.tag.element:04X})"


def _name(element: DataElement, rule: Rule) -> str:
    if element.tag.is_private:
        return "Private attribute"
    try:
        return dictionary_description(element.tag)
    except KeyError:
        return rule.name


def _kind(element: DataElement) -> str:
    if element.VR == "SQ":
        return f"sequence of {len(element.value)}"
    return f"{element.VR}, {len(str(element.value))} characters"
