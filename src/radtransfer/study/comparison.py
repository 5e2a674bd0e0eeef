"""Published results against new ones, number by number and file by file."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import zip_longest
from math import isclose
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel, ConfigDict

from radtransfer.hashing import sha256_file
from radtransfer.study.tolerances import DATA_ALONE, declare, tolerance_of, why_none

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from radtransfer.report.numbers import Number, Record, Tolerance

State = Literal["passed", "failed", "not comparable", "missing", "new"]

ROUNDING: Final = 3e-8
"""Difference, relative or absolute, of numbers whose sums another processor or library took in another order.

Most stay below 1e-14; iterative fits whose interval spans orders of magnitude reach 1e-12. A parameter found
by minimising is known only to the root of the machine's precision, 1.5e-8, to either side: the temperature of
a recalibration differed by 5e-9 between processors of two makers.
"""

EMBEDDED: Final = re.compile(r"data:image/png;base64,[\w+/=]+")
"""A picture inside a notebook."""

WORDS: Final = {"description", "method", "unit", "digits"}
"""What a number is called and how it is printed."""

DATA_UNITS: Final = frozenset({"patients", "images", "groups of similar images", "cases", "readers"})
"""Counts that follow from data alone; others, of events for instance, move with the predictions."""


class Checked(BaseModel):
    """One number or file, and what became of it.

    Attributes
    ----------
    kind : {"number", "figure", "table", "notebook", "results"}
    name : str
        Key of the number, or name of the file.
    notebook : str
        Which notebook recorded it.
    state : {"passed", "failed", "not comparable", "missing", "new"}
        Missing is what was published and not found again, new what was found and not published.
    identical : bool
        Whether all digits, or all bytes, are the same.
    outside : bool
        Whether the new estimate lies outside the published interval.
    why : str
        In words.
    published, found : str
        Both values with their intervals; empty for files.
    tolerance : str
        Band and its basis, ``"± 0.012 (sampling error)"``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["number", "figure", "table", "notebook", "results"]
    name: str
    notebook: str = ""
    state: State
    identical: bool = False
    outside: bool = False
    why: str
    published: str = ""
    found: str = ""
    tolerance: str = ""


@dataclass(frozen=True)
class Obstacles:
    """What may keep numbers of two runs of a study from being compared.

    Attributes
    ----------
    parameters : mapping of str to str
        By notebook whose parameters, or those of one it builds on, are others: which.
    weights : mapping of str to str
        By model that did not start from the published weights: what it started from.
    models : frozenset of str
        All models.
    """

    parameters: Mapping[str, str]
    weights: Mapping[str, str]
    models: frozenset[str]

    def of(self, number: Number) -> str:
        """Why a number cannot be compared; empty if it can."""
        if number.notebook in self.parameters:
            return f"other parameters: {self.parameters[number.notebook]}"
        named = self.models.intersection(number.key.split("."))
        # what names no model may rest on any of them
        affected = self.weights.keys() & (named or self.weights.keys())
        if affected and number.notebook not in DATA_ALONE:
            return f"other weights: {self.weights[min(affected)]}"
        return ""


def tolerance_text(tolerance: Tolerance | None) -> str:
    """Tolerance in words; ``"none"`` where none was declared."""
    if tolerance is None:
        return "none"
    basis = tolerance.basis.replace("_", " ")
    return f"equal ({basis})" if tolerance.kind == "exact" else f"± {tolerance.value:.3g} ({basis})"


def compare_rerun(
    published: Mapping[str, Number], found: Mapping[str, Number], obstacles: Obstacles
) -> list[Checked]:
    """Numbers of a study that was executed again, each under its tolerance.

    Parameters
    ----------
    published, found : mapping of str to Number
        By key.
    obstacles : Obstacles
        What keeps some of them from being compared.

    Returns
    -------
    list of Checked
        In the order of publication, new ones last.
    """
    return _compare(
        published,
        found,
        lambda old, new: _judge_rerun(old, new, obstacles.of(old)),
        absent=obstacles.of,
    )


def compare_recomputed(
    published: Mapping[str, Number], found: Mapping[str, Number], *, bitwise: bool, words: bool = True
) -> list[Checked]:
    """Numbers computed again from published predictions: they have to be the same.

    Parameters
    ----------
    published, found : mapping of str to Number
        By key.
    bitwise : bool
        Whether every digit has to be; otherwise :data:`ROUNDING` is allowed, since another processor or
        library takes sums in another order.
    words : bool
        Whether descriptions have to be the same, too, and how a number is printed.
    """
    return _compare(
        published, found, lambda old, new: _judge_recomputed(old, new, bitwise=bitwise, words=words)
    )


def _compare(
    published: Mapping[str, Number],
    found: Mapping[str, Number],
    judge: Callable[[Number, Number], tuple[State, str]],
    *,
    absent: Callable[[Number], str] = lambda number: "",
) -> list[Checked]:
    checks = []
    for key in {**published, **found}:
        old, new = published.get(key), found.get(key)
        told = {"kind": "number", "name": key, "notebook": (old or found[key]).notebook}
        told["tolerance"] = tolerance_text(tolerance_of(old or found[key]))
        if new is None:
            assert old is not None
            reason = absent(old)
            state = "not comparable" if reason else "missing"
            why = f"not recorded; {reason}" if reason else "not recorded again"
            checks.append(Checked(**told, state=state, why=why, published=_text(old)))
        elif old is None:
            checks.append(Checked(**told, state="new", why="not published", found=_text(new)))
        else:
            verdict, why = judge(old, new)
            texts = _texts(old, new)
            checks.append(
                Checked(
                    **told,
                    state=verdict,
                    identical=_values(old) == _values(new),
                    outside=_outside(old, new),
                    why=why,
                    published=texts[0],
                    found=texts[1],
                )
            )
    return checks


def _values(number: Number) -> tuple[Any, ...]:
    return number.value, number.low, number.high


def _outside(old: Number, new: Number) -> bool:
    if isinstance(new.value, str):
        return False
    return (old.low is not None and new.value < old.low) or (old.high is not None and new.value > old.high)


def _judge_rerun(old: Number, new: Number, obstacle: str) -> tuple[State, str]:
    counts = [unit for unit in sorted(DATA_UNITS & {*old.n, *new.n}) if old.n.get(unit) != new.n.get(unit)]
    if _values(old) == _values(new) and not counts:
        return "passed", "the same"
    if obstacle:
        return "not comparable", obstacle
    if counts:
        told = ", ".join(f"{unit} {old.n.get(unit, 'none')} -> {new.n.get(unit, 'none')}" for unit in counts)
        return "failed", f"it rests on other data: {told}"
    tolerance = tolerance_of(old)
    if tolerance is None:
        return "not comparable", why_none(old)
    if tolerance.kind == "exact":
        if _close(_values(old), _values(new), ROUNDING):
            return "passed", "the same but for rounding"
        return "failed", "it has to be the same"
    moved = _largest_move(old, new)
    if moved is None:
        return "failed", "it has limits in one of the two only"
    verdict: State = "passed" if moved <= tolerance.value else "failed"
    return verdict, f"moved by {moved:.3g}, {tolerance.value:.3g} is allowed"


def _largest_move(old: Number, new: Number) -> float | None:
    """Largest difference of value and limits; None if they cannot be subtracted."""
    moved = 0.0
    for one, other in zip(_values(old), _values(new), strict=True):
        if one is None and other is None:
            continue
        if one is None or other is None or isinstance(one, str) or isinstance(other, str):
            return None
        moved = max(moved, abs(one - other))
    return moved


def _judge_recomputed(old: Number, new: Number, *, bitwise: bool, words: bool) -> tuple[State, str]:
    # the tolerance follows from the number; a published one that does not was altered
    left_out: set[str] = set() if words else WORDS
    one, other = (number.model_dump(exclude=left_out) for number in (old, declare(new)))
    if one == other:
        return "passed", "the same"
    differing = [name for name in one if one[name] != other[name]]
    close = all(_close(one[name], other[name], ROUNDING) for name in differing)
    if close and not bitwise:
        return "passed", "the same but for rounding"
    digits = " in the last digits" if close else ""
    return "failed", f"{', '.join(differing)} differ{'s' if len(differing) == 1 else ''}{digits}"


def _close(one: Any, other: Any, rounding: float) -> bool:
    """Whether two values are the same but for the rounding of floating-point numbers."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_close(one[key], other[key], rounding) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(_close(a, b, rounding) for a, b in zip(one, other, strict=True))
    if isinstance(one, float) and isinstance(other, float):
        return isclose(one, other, rel_tol=rounding, abs_tol=rounding)
    return bool(one == other)


def _text(number: Number) -> str:
    return number.interval_text


def _texts(old: Number, new: Number) -> tuple[str, str]:
    """Both as printed, with all digits where they would look the same and are not."""
    one, other = _text(old), _text(new)
    if one == other and _values(old) != _values(new):
        return tuple(  # type: ignore[return-value]
            " / ".join(repr(value) for value in _values(number) if value is not None) for number in (old, new)
        )
    return one, other


# --- files ---


def compare_files(
    results: Path, study: Path, old: Record, new: Record, *, bitwise: bool, words: bool = True
) -> list[Checked]:
    """Figures and tables of a notebook that was computed again.

    Parameters
    ----------
    results, study : Path
        Folders with ``figures/`` and ``tables/``: as published, and new.
    old, new : Record
        What the notebook recorded in either.
    bitwise : bool
        Whether every byte has to be the same. Otherwise numbers in data may differ by
        :data:`ROUNDING`, and a picture that other libraries drew differently is not comparable.
    words : bool
        Whether captions and pictures are compared, too, and not the data alone.
    """
    checks = []
    for kind, names, beside in (
        ("figure", {**dict.fromkeys(old.figures), **dict.fromkeys(new.figures)}, ("json", "png")),
        ("table", {**dict.fromkeys(old.tables), **dict.fromkeys(new.tables)}, ("json",)),
    ):
        endings = ("csv", *beside) if words else ("csv",)
        for name in (f"{kind}s/{name}.{ending}" for name in names for ending in endings):
            state, why = _judge_file(results / name, study / name, bitwise=bitwise)
            checks.append(
                Checked.model_validate(
                    {
                        "kind": kind,
                        "name": name,
                        "notebook": new.notebook,
                        "state": state,
                        "identical": why == SAME_BYTES,
                        "why": why,
                    }
                )
            )
    return checks


SAME_BYTES: Final = "the same bytes"


def _judge_file(old: Path, new: Path, *, bitwise: bool) -> tuple[State, str]:
    if not new.is_file():
        return "missing", "not made again"
    if not old.is_file():
        return "new", "not published"
    if sha256_file(old) == sha256_file(new):
        return "passed", SAME_BYTES
    if old.suffix == ".png":
        return ("failed", "other bytes") if bitwise else ("not comparable", "drawn on another machine")
    one, other = (path.read_text(encoding="utf-8").splitlines() for path in (old, new))
    lines = list(zip_longest(one, other, fillvalue=""))
    first = next((i for i, (a, b) in enumerate(lines, start=1) if a != b), 0)
    if not bitwise and all(_close(_cells(a), _cells(b), ROUNDING) for a, b in lines):
        return "passed", "the same but for rounding"
    return "failed", f"line {first} was {_short(lines[first - 1][0])} and is {_short(lines[first - 1][1])}"


def _cells(line: str) -> list[float | str]:
    cells: list[float | str] = []
    for cell in line.split(","):
        try:
            cells.append(float(cell))
        except ValueError:
            cells.append(cell)
    return cells


def _short(line: str, width: int = 60) -> str:
    return repr(line if len(line) <= width else line[: width - 1] + "…")


def compare_notebook(old: Mapping[str, Any], new: Mapping[str, Any], name: str, *, bitwise: bool) -> Checked:
    """What an executed notebook shows, cell by cell; what it merely printed on the way does not count.

    Parameters
    ----------
    old, new : mapping
        Executed notebooks, as published and new, both without what names a machine.
    name : str
        The notebook's name.
    bitwise : bool
        Whether pictures have to be the same bytes, too.
    """
    one, other = (_shown(notebook, pictures=bitwise) for notebook in (old, new))
    told: dict[str, Any] = {"kind": "notebook", "name": f"notebooks/{name}.ipynb", "notebook": name}
    if one == other:
        return Checked(**told, state="passed", identical=bitwise, why="every cell shows the same")
    cells = zip_longest(one, other)
    first = next(i for i, (a, b) in enumerate(cells, start=1) if a != b)
    state: State = "failed" if bitwise or len(one) != len(other) else "not comparable"
    return Checked(**told, state=state, why=f"code cell {first} shows something else")


def _shown(notebook: Mapping[str, Any], *, pictures: bool) -> list[list[str]]:
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    shown = []
    for cell in cells:
        outputs = [output.get("data", {}) for output in cell["outputs"] if output["output_type"] != "stream"]
        texts = [json.dumps(data, sort_keys=True) for data in outputs]
        shown.append(texts if pictures else [EMBEDDED.sub("", text) for text in texts])
    return shown
