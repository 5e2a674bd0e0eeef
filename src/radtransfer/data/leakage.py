"""Leakage and shortcuts: what would make a classifier look better than it is.

A *leak* is something that stands on both sides of a split: a patient, a series, an exposure. A *shortcut* is
a property of the file, the frame or the request that tells the class without the disease being seen: a
classifier may have learned it instead (Zech et al., PLoS Med 2018;15:e1002683; DeGrave, Janizek and Lee, Nat
Mach Intell 2021;3:610-619).

How well one property tells the class is an AUC, of several classes the mean of the AUCs of each against the
rest. No direction or shape is assumed and none is chosen with the answer in view: the share of each class
is learned by value (of a quantity: by interval between quantiles; of what is unknown: as a value of its
own) on one half of the patients and predicts the classes of the other half, and the other way round.

Rule: a shortcut is flagged if its AUC is at least :data:`LEAST_AUC` and its p-value, adjusted after Holm for
all properties of the report, is below :data:`LEVEL`. Variances are those of patients, not images.
Leaks are counted, not tested: one is enough.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np
import pandas as pd
from scipy import stats

from radtransfer.data.cohort import EXCLUSION, Cohort
from radtransfer.data.duplicates import components
from radtransfer.data.splits import Folds, Split, make_folds
from radtransfer.errors import InputError
from radtransfer.stats.auc import compare_macro_auc
from radtransfer.stats.multiplicity import adjust_p_values
from radtransfer.stats.result import Estimate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from radtransfer.data.duplicates import Duplicates
    from radtransfer.data.store import CuratedDataset

LEVEL: Final = 0.05
"""Probability of any false shortcut in a report."""

LEAST_AUC: Final = 0.55
"""AUC below which a property is too poor a predictor to matter, however sure it is."""

LEAST_PATIENTS: Final = 20
"""Patients that every class needs for a test."""

BORDER_SHARE: Final = 1 / 16
"""Width of the frame as a share of the image's side."""

_HALVES: Final = 2
_INTERVALS: Final = 20
_IMAGES_PER_INTERVAL: Final = 25
_PRIOR: Final = 5.0
"""Images of the overall share of classes that are added to every value's."""

Kind: TypeAlias = Literal["leak", "shortcut", "warning"]
Parts: TypeAlias = "Split | Folds | pd.Series[Any] | NDArray[Any]"

QUANTITIES: Final[Mapping[str, str]] = {
    "file_bytes": "size of the file",
    "height": "height of the image",
    "width": "width of the image",
    "aspect": "aspect of the image",
    "border": "grey level of the frame",
    "slice_fraction": "place of the slice in its series",
    "patient_number": "number of the patient",
    "age_years": "age",
}
"""Properties that are ordered, and what they are called."""

NAMES: Final[Mapping[str, str]] = {
    "view": "view",
    "site": "site",
    "sex": "sex",
    "file_type": "type of the file",
    "official_split": "part of the official split",
}
"""Properties that are not ordered."""

_ADVICE: Final[Mapping[str, str]] = {
    "file_bytes": "compare with a classifier of the file size alone; compress all images alike",
    "height": "bring all images to one size before anything else sees them, and report the size alone",
    "width": "bring all images to one size before anything else sees them, and report the size alone",
    "aspect": "crop all images to one aspect; padding or squashing shows it to the network",
    "border": "crop or mask the frame, and report a classifier of the frame beside the network",
    "slice_fraction": "compare slices from the same places, and report the place alone beside the network",
    "patient_number": "the classes come from other periods or sources, or were numbered one after the other",
    "age_years": "match or stratify by age, and report age alone beside the network",
    "view": "report results by view, and the view alone beside the network",
    "site": "validate on a site that was not trained on; report results by site",
    "sex": "report results by sex, and sex alone beside the network",
    "file_type": "the classes come from other sources: take them from one, or bring all to one type",
    "official_split": "the parts differ in their shares of the classes: do not compare predictive values",
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for.

    Attributes
    ----------
    kind : {"leak", "shortcut", "warning"}
    subject : str
        Of a leak or warning ``patient``, ``group``, ``identical`` or ``near`` (duplicates) or ``label``; of a
        shortcut the property.
    split : str
        Name of the split it concerns, or nothing.
    finding, advice : str
        What was found, in plain words, and what to do; no advice where nothing is flagged.
    flagged : bool
    n_images, n_patients : int
        Images and patients affected by a leak or warning; those whose property was looked at.
    auc, low, high : float or None
        Of a shortcut, with its interval.
    p_value, p_adjusted : float or None
        Of the AUC against one half, and adjusted after Holm for the report.
    """

    kind: Kind
    subject: str
    split: str
    finding: str
    advice: str
    flagged: bool
    n_images: int
    n_patients: int
    auc: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    p_adjusted: float | None = None


@dataclass(frozen=True)
class LeakageReport:
    """What was looked for in a cohort, what was found, and what could not be looked for.

    Attributes
    ----------
    dataset, task : str
    n_images, n_patients : int
        Taking part in the task.
    findings : tuple of Finding
        Leaks, warnings, then shortcuts.
    not_tested : mapping of str to str
        Properties, and why they were not tested.
    level, least_auc : float
        The rule by which shortcuts are flagged.
    """

    dataset: str
    task: str
    n_images: int
    n_patients: int
    findings: tuple[Finding, ...]
    not_tested: Mapping[str, str]
    level: float = LEVEL
    least_auc: float = LEAST_AUC

    @property
    def flagged(self) -> tuple[Finding, ...]:
        """Findings that call for something to be done."""
        return tuple(finding for finding in self.findings if finding.flagged)

    def to_frame(self) -> pd.DataFrame:
        """One row per finding, columns as the attributes of :class:`Finding`."""
        columns = list(Finding.__dataclass_fields__)
        return pd.DataFrame([asdict(finding) for finding in self.findings], columns=columns)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary that serialises to JSON."""
        return {**asdict(self), "not_tested": dict(self.not_tested)}


def examine(
    cohort: Cohort,
    *,
    task: str,
    images: NDArray[np.uint8] | None = None,
    splits: Mapping[str, Parts] | None = None,
    duplicates: Duplicates | None = None,
    patients_known: bool = True,
    seed: int = 0,
) -> LeakageReport:
    """Look for leaks and shortcuts.

    Parameters
    ----------
    cohort : Cohort
        Images without a known label of the task, or excluded from it, are left out.
    task : str
        One of ``cohort.tasks``.
    images : ndarray of uint8, shape (n, height, width), optional
        Pixels of the cohort's rows, for the grey level of the frame; may be memory-mapped.
    splits : mapping of str to Split, Folds or array_like of shape (n,), optional
        Splits to be checked, by name; an array tells the part of each row, null for none. The columns
        ``official_split`` and ``official_fold`` are always checked.
    duplicates : Duplicates, optional
        Of the cohort's rows, see :func:`radtransfer.data.duplicates.find_duplicates`.
    patients_known : bool
        Whether ``patient_id`` is the source's own; a number that was made up here is no shortcut.
    seed : int
        Of the deal of patients to the folds in which shortcuts are learned and judged.

    Returns
    -------
    LeakageReport

    Raises
    ------
    InputError
        If the task is unknown, no image takes part, or something does not fit the cohort's rows.
    """
    takes_part = cohort.labels(task).notna().to_numpy()
    if EXCLUSION + task in cohort.frame:
        takes_part = takes_part & cohort.frame[EXCLUSION + task].isna().to_numpy()
    if not takes_part.any():
        raise InputError(f"cohort {cohort.dataset}: no image takes part in {task}")
    for what, n in (
        ("images", len(images) if images is not None else cohort.n_images),
        ("duplicates", duplicates.n_images if duplicates else cohort.n_images),
    ):
        if n != cohort.n_images:
            raise InputError(f"cohort {cohort.dataset} has {cohort.n_images} images, {what} {n}")
    rows = np.flatnonzero(takes_part)
    part = cohort.keep(takes_part)
    groups = _duplicate_groups(duplicates, rows) if duplicates else {}
    findings = [
        finding
        for name, parts in _all_splits(cohort, splits or {}).items()
        for finding in _leaks(part.frame, groups, name, parts[rows])
    ]
    findings += _warnings(part, task, groups)
    looked_at = properties(part.frame, None if images is None else border(images)[rows])
    if not patients_known:
        looked_at.pop("patient_number", None)
    tested, not_tested = _shortcuts(part, task, looked_at, seed)
    return LeakageReport(
        dataset=cohort.dataset,
        task=task,
        n_images=part.n_images,
        n_patients=part.n_patients,
        findings=(*findings, *tested),
        not_tested=not_tested,
    )


def examine_curated(dataset: CuratedDataset, *, seed: int = 0) -> LeakageReport:
    """Examine a curated dataset: its pixels, duplicates, official split and the parts dealt here.

    Parameters
    ----------
    dataset : CuratedDataset
    seed : int
        As for :func:`examine`.

    Returns
    -------
    LeakageReport
    """
    return examine(
        dataset.cohort,
        task=dataset.task,
        images=dataset.images,
        splits={"hold-out": dataset.holdout, "folds": dataset.folds},
        duplicates=dataset.duplicates,
        patients_known=dataset.patients_known,
        seed=seed,
    )


def border(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean grey level of each image's frame, a sixteenth of the sides wide.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, height, width)
        May be memory-mapped; read one at a time.

    Returns
    -------
    ndarray of float64, shape (n,)
        0 to 255.
    """
    frame = np.ones(images.shape[1:], dtype=bool)
    high, wide = (max(1, round(side * BORDER_SHARE)) for side in images.shape[1:])
    frame[high:-high, wide:-wide] = False
    return np.array([image[frame].mean() for image in images])


# --- leaks ------------------------------------------------------------------------------------------------


def _all_splits(cohort: Cohort, given: Mapping[str, Parts]) -> dict[str, NDArray[Any]]:
    """Part of each row by name of the split, None where it has none."""
    official = {
        name: cohort.frame[name]
        for name in ("official_split", "official_fold")
        if name in cohort.frame and cohort.frame[name].notna().any()
    }
    found = {}
    for name, parts in {**official, **given}.items():
        if isinstance(parts, Split | Folds):
            column = "part" if isinstance(parts, Split) else "fold"
            values = cohort.frame["image_id"].map(parts.table.set_index("image_id")[column])
        else:
            values = pd.Series(parts)
        if len(values) != cohort.n_images:
            raise InputError(f"split {name} has {len(values)} rows, the cohort {cohort.n_images}")
        found[name] = values.astype(object).where(values.notna().to_numpy(), None).to_numpy()
    return found


def _duplicate_groups(duplicates: Duplicates, rows: NDArray[np.intp]) -> dict[str, NDArray[np.intp]]:
    exact = components(duplicates.n_images, duplicates.pairs[duplicates.identical])
    return {"identical": exact[rows], "near": duplicates.groups[rows]}


def _leaks(
    frame: pd.DataFrame, groups: Mapping[str, NDArray[np.intp]], split: str, parts: NDArray[Any]
) -> list[Finding]:
    """What stands in more than one part of a split."""
    told = {
        "patient": ("images of a patient", "deal whole patients to the parts"),
        "group": ("images of a series or group of duplicates", "deal whole groups to the parts"),
        "identical": ("images with an identical copy", "deal duplicates to one part or drop the copies"),
        "near": (
            "images with a near or identical duplicate",
            "deal duplicates to one part or drop the copies",
        ),
    }
    units = {"patient": frame["patient_id"], "group": frame["group_id"], **groups}
    findings = []
    placed = pd.notna(parts)
    for subject, unit in units.items():
        table = pd.DataFrame(
            {"unit": np.asarray(unit), "part": parts, "patient": frame["patient_id"].to_numpy()}
        )[placed]
        apart = table[table.groupby("unit")["part"].transform("nunique") > 1]
        what, advice = told[subject]
        n_patients = int(apart["patient"].nunique())
        size, hit = table["part"].value_counts(), apart["part"].value_counts()
        where = ", ".join(f"{hit[name]} of {size[name]} in {name}" for name in sorted(hit.index, key=str))
        findings.append(
            Finding(
                kind="leak",
                subject=subject,
                split=split,
                finding=f"{what} also in another part: {where} ({n_patients} patients)"
                if len(apart)
                else f"no {what} in another part",
                advice=advice if len(apart) else "",
                flagged=bool(len(apart)),
                n_images=len(apart),
                n_patients=n_patients,
            )
        )
    return findings


def _warnings(part: Cohort, task: str, groups: Mapping[str, NDArray[np.intp]]) -> list[Finding]:
    """What leaks as soon as somebody splits by image."""
    frame = part.frame
    label = part.labels(task)

    def finding(subject: str, rows: Any, text: str, advice: str) -> Finding:
        n = int(rows.sum())
        return Finding(
            kind="warning",
            subject=subject,
            split="",
            finding=text.format(n=n, patients=(patients := int(frame.loc[rows, "patient_id"].nunique()))),
            advice=advice if n else "",
            flagged=n > 0,
            n_images=n,
            n_patients=patients,
        )

    found = [
        finding(
            "patient",
            (label.groupby(frame["patient_id"]).transform("nunique") > 1).to_numpy(),
            "{patients} patients have images of several classes",
            "split by patient, never by image",
        )
    ]
    if groups:
        exact, near = (pd.Series(groups[name], index=frame.index) for name in ("identical", "near"))
        across = frame["patient_id"].groupby(near).transform("nunique") > 1
        conflict = label.groupby(near).transform("nunique") > 1
        same_patient = conflict & ~across & ~exact.duplicated(keep=False)
        found += [
            finding(
                "identical",
                exact.duplicated().to_numpy(),
                "{n} images are identical to another",
                "keep one, or keep copies together by group_id",
            ),
            finding(
                "near",
                across.to_numpy(),
                "{n} images of {patients} patients have a near or identical duplicate of another patient",
                "keep them together by group_id: the patients may be one",
            ),
            finding(
                "label",
                (conflict & ~same_patient).to_numpy(),
                "{n} images have a duplicate of another class",
                "look at them: one of the labels is wrong",
            ),
        ]
    return found


# --- shortcuts --------------------------------------------------------------------------------------------


def properties(
    frame: pd.DataFrame, border_level: NDArray[np.float64] | None = None
) -> dict[str, pd.Series[Any]]:
    """Properties of a cohort that could give its classes away.

    Parameters
    ----------
    frame : DataFrame
        Of a cohort.
    border_level : ndarray of float64, shape (n,), optional
        See :func:`border`.

    Returns
    -------
    dict of str to Series of length n
        Columns that the cohort has and what follows from them, by names in :data:`QUANTITIES` (as float64)
        and :data:`NAMES`.
    """
    have: dict[str, pd.Series[Any]] = {name: frame[name] for name in (*QUANTITIES, *NAMES) if name in frame}
    if {"height", "width"} <= set(frame):
        have["aspect"] = frame["width"] / frame["height"]
    if border_level is not None:
        have["border"] = pd.Series(border_level, index=frame.index)
    if (frame["patient_id"] != frame["image_id"]).any():
        number = frame["patient_id"].str.extract(r"^\D*(\d{1,15})\D*$", expand=False)
        have["patient_number"] = pd.to_numeric(number)
    have["file_type"] = frame["path"].str.extract(r"\.([^./]+)$", expand=False).str.lower()
    return {
        name: have[name].astype("Float64").astype("float64") if name in QUANTITIES else have[name]
        for name in (*QUANTITIES, *NAMES)
        if name in have
    }


def _shortcuts(
    part: Cohort, task: str, looked_at: Mapping[str, pd.Series[Any]], seed: int
) -> tuple[list[Finding], dict[str, str]]:
    """Test each property; also why some were not."""
    frame = part.frame
    label = pd.factorize(part.labels(task), sort=True)[0]
    block = _blocks(frame)
    not_tested = {name: "not known" for name in (*QUANTITIES, *NAMES) if name not in looked_at}
    varying = {}
    for name, values in looked_at.items():
        if values.nunique(dropna=False) > 1:
            varying[name] = values
        else:
            not_tested[name] = "not known" if values.isna().all() else "the same in all images"
    patients = pd.Series(block).groupby(label).nunique()
    if len(patients) < 2 or patients.min() < LEAST_PATIENTS:
        reason = f"the rarest class has {patients.min()} patients, {LEAST_PATIENTS} are needed"
        return [], {**not_tested, **dict.fromkeys(varying, "one class only" if len(patients) < 2 else reason)}
    dealt = make_folds(part, task=task, n_folds=_HALVES, seed=seed).table
    fold = dealt.set_index("image_id").loc[frame["image_id"], "fold"].to_numpy()
    found = []
    for name, values in varying.items():
        shares = learned_shares(values, label, fold, ordered=name in QUANTITIES)
        found.append(_judge(name, task, cross_validated_auc(label, shares, fold, block)))
    adjusted = adjust_p_values([finding.p_value for finding in found if finding.p_value is not None])
    return [
        _flag(replace(finding, n_images=len(frame), n_patients=part.n_patients, p_adjusted=float(p)))
        for finding, p in zip(found, adjusted, strict=True)
    ], not_tested


def _blocks(frame: pd.DataFrame) -> NDArray[np.intp]:
    """Patients joined by groups: what is independent of what."""
    patient, group = (pd.factorize(frame[name])[0] for name in ("patient_id", "group_id"))
    joined = components(
        int(patient.max() + group.max()) + 2, np.column_stack([patient, patient.max() + 1 + group])
    )
    return joined[patient]


def learned_shares(
    values: pd.Series[Any], label: NDArray[np.intp], fold: NDArray[np.intp], *, ordered: bool
) -> NDArray[np.float64]:
    """Probability of each class given one property, learned on the other folds.

    Parameters
    ----------
    values : Series, length n
        The property; null is a value of its own.
    label : ndarray of int, shape (n,)
        Class, 0 to K - 1.
    fold : ndarray of int, shape (n,)
        Fold in which each row is judged.
    ordered : bool
        Whether values are taken by interval, between quantiles of the rows learned from, or one by one.

    Returns
    -------
    ndarray of float64, shape (n, K)
        Shares of the classes among the rows of the other folds with the same value, drawn towards the
        overall shares as by a few more rows.
    """
    n_classes = int(label.max()) + 1
    shares = np.empty((len(label), n_classes))
    unordered = np.zeros(0) if ordered else pd.factorize(values)[0] + 1
    for number in np.unique(fold):
        rest, judged = fold != number, fold == number
        code = _interval(values.to_numpy(dtype=np.float64), rest) if ordered else unordered
        one_hot = np.eye(n_classes)[label[rest]]
        counts = np.zeros((int(code.max()) + 1, n_classes))
        np.add.at(counts, code[rest], one_hot)
        smooth = counts + _PRIOR * one_hot.mean(axis=0)
        shares[judged] = (smooth / smooth.sum(axis=1, keepdims=True))[code[judged]]
    return shares


def _interval(values: NDArray[np.float64], learned_from: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Number of the interval between quantiles, from 1; 0 for what is unknown."""
    known = values[learned_from & ~np.isnan(values)]
    n = int(np.clip(len(known) // _IMAGES_PER_INTERVAL, 2, _INTERVALS))
    edges = np.unique(np.quantile(known, np.arange(1, n) / n)) if len(known) else np.zeros(0)
    return np.where(np.isnan(values), 0, 1 + np.searchsorted(edges, values, side="right")).astype(np.intp)


def cross_validated_auc(
    label: NDArray[np.intp], shares: NDArray[np.float64], fold: NDArray[np.intp], block: NDArray[np.intp]
) -> Estimate:
    """Mean over folds of the macro-averaged AUC, with a test against one half.

    Folds are judged one by one, as predictions learned on other rows are not comparable: where a fold has
    more of a class than the others, it learned from fewer (LeDell et al., Electron J Stat 2015;9:1583-1607).
    The folds' AUCs depend on each other, because each learned from the others: their p-values are combined
    as the least of them times their number, which is a p-value whatever the dependence (Bonferroni).

    Parameters
    ----------
    label : ndarray of int, shape (n,)
    shares : ndarray of float64, shape (n, K)
        See :func:`learned_shares`.
    fold, block : ndarray of int, shape (n,)
        Fold and independent unit (patient) of each row.

    Returns
    -------
    Estimate
        Tests and interval are Student's; a fold has as many degrees of freedom as patients of the
        class that is rarest in it, less one. The test is one-sided: better than chance.
    """
    aucs, variances, p_values, df = [], [], [], 0
    for number in np.unique(fold):
        rows = fold == number
        part = compare_macro_auc(label[rows], shares[rows], np.zeros_like(shares[rows]), cluster=block[rows])
        auc, se = part.details["auc_a"], part.details["se"]
        least = int(pd.Series(block[rows]).groupby(label[rows]).nunique().min())
        if se > 0:
            p_values.append(float(stats.t.sf((auc - 0.5) / se, least - 1)))
        else:  # told apart without a mistake, or nothing: the chance that the patients' classes fall so
            p_values.append(1 / math.comb(len(np.unique(block[rows])), least) if auc > 0.5 else 1.0)
        aucs.append(auc)
        variances.append(part.details["variance"])
        df += least - 1
    value = float(np.mean(aucs))
    half = float(stats.t.isf(LEVEL / 2, df)) * math.sqrt(sum(variances)) / len(aucs)
    return Estimate(
        name="AUC",
        estimate=value,
        low=max(value - half, 0.0),
        high=min(value + half, 1.0),
        level=1 - LEVEL,
        method=f"learned by {len(aucs)}-fold cross-validation, clustered variance",
        p_value=min(len(p_values) * min(p_values), 1.0),
        n={"cases": len(label), "clusters": len(np.unique(block))},
    )


def _judge(name: str, task: str, result: Estimate) -> Finding:
    called = {**QUANTITIES, **NAMES}[name]
    return Finding(
        kind="shortcut",
        subject=name,
        split="",
        finding=f"{called} alone tells {task} with an AUC of {result.estimate:.3f} "
        f"(95 % CI {result.low:.3f} to {result.high:.3f})",
        advice="",
        flagged=False,
        n_images=0,
        n_patients=0,
        auc=result.estimate,
        low=result.low,
        high=result.high,
        p_value=result.p_value,
    )


def _flag(finding: Finding) -> Finding:
    if finding.p_adjusted is None or finding.auc is None:
        return finding
    flagged = finding.p_adjusted < LEVEL and finding.auc >= LEAST_AUC
    return replace(finding, flagged=flagged, advice=_ADVICE[finding.subject] if flagged else "")
