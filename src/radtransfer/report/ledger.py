"""The claims ledger: each claim of the paper, our estimate, and a verdict by a stated rule.

A comparison supports its claim when the whole interval of the paired difference lies above
zero, and does not when it does not. A claim about several tasks or measures has a comparison for
each: it is supported when all are, partly supported when some are. A claim of being as good is
supported when the interval lies above the margin of non-inferiority. A claim of no gap between groups is
supported when the intervals of all gaps end below a margin and none is significant: that a gap was not
found is not enough. Whether the paper's own gain
lies inside our interval is said beside it and does not change the verdict. The estimates are the
recorded numbers of the chapters: the ledger computes nothing anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from radtransfer import paths
from radtransfer.errors import InputError
from radtransfer.report.tables import ABSENT

if TYPE_CHECKING:
    from pathlib import Path

    from radtransfer.report.numbers import Number, Registry
    from radtransfer.report.step import Step

Verdict = Literal["supported", "partly supported", "not supported", "not testable", "not examined"]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Difference(_Strict):
    """A recorded paired difference.

    Attributes
    ----------
    number : str
        Key of the difference in the numbers registry.
    weights : str
        Key of the text that says what the network started from; the row is not testable unless
        it is ImageNet, nor if the difference has no interval, as of few trainings that are all alike.
    paper : tuple of float or None
        The paper's gain as a fraction, from and to.
    """

    number: str
    weights: str
    paper: tuple[float, float] | None = None


class Comparison(_Strict):
    """The claim is tested by recorded paired differences, one for each task or measure it speaks of."""

    kind: Literal["comparison"]
    differences: Annotated[tuple[Difference, ...], Field(min_length=1)]


class NonInferiority(_Strict):
    """The claim of being as good is tested by a recorded difference and a margin.

    Attributes
    ----------
    number : str
        Key of the difference in the numbers registry.
    margin : str
        Key of the largest loss that counts as not inferior.
    source : str
        Key of the text that says whose readings they are; the row is not testable if phantoms made
        them.
    """

    kind: Literal["noninferiority"]
    number: str
    margin: str
    source: str


class NoGap(_Strict):
    """The claim that groups do not differ is tested by recorded gaps and a margin.

    Attributes
    ----------
    gaps : tuple of str
        Keys of the gaps, whose p-values are adjusted over their family.
    margin : str
        Key of the largest gap that counts as none.
    """

    kind: Literal["no_gap"]
    gaps: Annotated[tuple[str, ...], Field(min_length=1)]
    margin: str


class Open(_Strict):
    """The claim is not examined in this edition."""

    kind: Literal["open"]
    why: str


class NotTestable(_Strict):
    """No open data can test the claim."""

    kind: Literal["not_testable"]
    why: str


class Claim(_Strict):
    """One claim of the paper.

    Attributes
    ----------
    id : str
        C1 to C11.
    claim, paper : str
        What is claimed, and the paper's figure.
    accuracy : tuple of float or None
        Accuracy that the paper reports of its networks, from and to, as a fraction.
    finding : Comparison, NonInferiority, NoGap, Open or NotTestable
        How the row is filled.
    caveat : str
        What the verdict must be read with.
    section : str or None
        Notebook whose page holds the evidence.
    """

    id: str = Field(pattern=r"^C\d+$")
    claim: str
    paper: str
    accuracy: tuple[float, float] | None = None
    finding: Annotated[Comparison | NonInferiority | NoGap | Open | NotTestable, Field(discriminator="kind")]
    caveat: str = ""
    section: str | None = None


@dataclass(frozen=True)
class Row:
    """One row of the ledger."""

    claim: Claim
    verdict: Verdict
    remark: str
    numbers: tuple[Number, ...] = ()


@dataclass(frozen=True)
class Ledger:
    """All rows; shows itself as a table whose links lead to the evidence."""

    rows: tuple[Row, ...]

    def count(self, verdict: Verdict) -> int:
        """Number of claims with a verdict."""
        return sum(row.verdict == verdict for row in self.rows)

    def _repr_html_(self) -> str:
        head = ("Claim", "Paper's figure", "Our estimate", "n", "Verdict", "Evidence")
        cells = "".join(f'<th scope="col">{label}</th>' for label in head)
        return (
            '<div class="rt-table" role="region" aria-label="Claims ledger" tabindex="0"><table>'
            "<caption>Every claim of the paper under test, with the verdict of this study.</caption>"
            f"<thead><tr>{cells}</tr></thead>"
            f"<tbody>{''.join(_row_html(row) for row in self.rows)}</tbody></table></div>"
        )


def _row_html(row: Row) -> str:
    claim = row.claim
    ours = "<br>".join(
        f"{escape(number.description)}: {number.interval_text}; {escape(number.method)}"
        for number in row.numbers
    )
    n = "<br>".join(dict.fromkeys(number.show("n") for number in row.numbers))
    link = f'<a href="{claim.section}.html">{claim.section}</a>' if claim.section else "–"
    return (
        f'<tr><th scope="row">{claim.id}. {escape(claim.claim)}</th><td>{escape(claim.paper)}</td>'
        f"<td>{ours or ABSENT}</td><td>{n or ABSENT}</td>"
        f"<td><strong>{row.verdict}</strong>: {escape(row.remark)}</td><td>{link}</td></tr>"
    )


def load_claims(path: Path | None = None) -> tuple[Claim, ...]:
    """Read the paper's claims.

    Parameters
    ----------
    path : Path, optional
        YAML list of claims; the book's ``claims.yaml`` by default.

    Raises
    ------
    InputError
        If the file does not follow the schema, naming the claim and the field.
    """
    path = path or paths.book_dir() / "claims.yaml"
    claims = []
    for entry in yaml.safe_load(path.read_text("utf-8")):
        try:
            claims.append(Claim.model_validate(entry))
        except ValidationError as error:
            first = error.errors()[0]
            where = f"{path.name}, {entry.get('id', 'a claim without id')}"
            raise InputError(f"{where}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    if len({claim.id for claim in claims}) != len(claims):
        raise InputError(f"{path.name}: a claim id stands twice")
    return tuple(claims)


def fill_ledger(claims: tuple[Claim, ...], registry: Registry) -> Ledger:
    """Fill every row of the ledger from the recorded numbers.

    Parameters
    ----------
    claims : tuple of Claim
        From :func:`load_claims`.
    registry : Registry
        Numbers of the study so far.

    Returns
    -------
    Ledger

    Raises
    ------
    InputError
        If a claim refers to a number that was not recorded or that has no interval.
    """
    return Ledger(tuple(_fill(claim, registry) for claim in claims))


def _fill(claim: Claim, registry: Registry) -> Row:
    finding = claim.finding
    if isinstance(finding, Open):
        return Row(claim, "not examined", finding.why)
    if isinstance(finding, NotTestable):
        return Row(claim, "not testable", finding.why)
    if isinstance(finding, NonInferiority):
        return _fill_noninferiority(claim, finding, registry)
    if isinstance(finding, NoGap):
        return _fill_no_gap(claim, finding, registry)
    return _fill_comparison(claim, finding, registry)


def _fill_comparison(claim: Claim, finding: Comparison, registry: Registry) -> Row:
    for part in finding.differences:
        if "ImageNet" not in (start := registry.get(part.weights).text):
            return Row(claim, "not testable", f"the network started from {start}, so nothing was transferred")
    numbers, above, inside = [], [], []
    for part in finding.differences:
        number = registry.get(part.number)
        if number.low is None or number.high is None:
            why = number.method or "none was recorded"
            return Row(claim, "not testable", f"{number.description} has no interval: {why}")
        numbers.append(number)
        above.append(number.low > 0)
        if part.paper is not None:
            inside.append(number.low <= part.paper[1] and part.paper[0] <= number.high)
    verdict: Verdict = "supported" if all(above) else "partly supported" if any(above) else "not supported"
    if len(numbers) == 1:
        remarks = [f"the interval {'lies above' if above[0] else 'does not lie above'} zero"]
        remarks += [f"the paper's gain lies {'inside' if found else 'outside'} it" for found in inside]
    else:
        remarks = [f"{sum(above)} of {len(above)} intervals lie above zero"]
        if inside:
            remarks.append(f"the paper's gain lies inside {sum(inside)} of {len(inside)}")
    if claim.caveat:
        remarks.append(claim.caveat)
    return Row(claim, verdict, "; ".join(remarks), tuple(numbers))


def _fill_noninferiority(claim: Claim, finding: NonInferiority, registry: Registry) -> Row:
    if (source := registry.get(finding.source).text).startswith("phantom"):
        return Row(claim, "not testable", f"the readings are those of {source}")
    number, margin = registry.get(finding.number), registry.get(finding.margin)
    if number.low is None:
        raise InputError(f"{claim.id}: {finding.number} has no interval")
    equal = number.low > -float(margin.value)
    place = "lies above" if equal else "reaches below"
    remarks = [f"the interval {place} a loss of {margin.text}, the margin fixed beforehand"]
    if claim.caveat:
        remarks.append(claim.caveat)
    return Row(claim, "supported" if equal else "not supported", "; ".join(remarks), (number,))


def _fill_no_gap(claim: Claim, finding: NoGap, registry: Registry) -> Row:
    numbers = tuple(registry.get(key) for key in finding.gaps)
    margin = registry.get(finding.margin)
    found = [
        number.description
        for number in numbers
        if number.p_value is not None and number.p_value <= 1 - (number.level or 0.95)
    ]
    # a gap without interval may be of any size
    inside = [number.high is not None and number.high < float(margin.value) for number in numbers]
    verdict: Verdict = "supported" if all(inside) else "partly supported" if any(inside) else "not supported"
    if found:
        verdict = "not supported"
        remarks = [f"significant gaps: {', '.join(found)}"]
    else:
        remarks = ["no gap is significant, which is not enough"]
    remarks.append(
        f"{sum(inside)} of {len(inside)} intervals end below {margin.text}, the margin fixed beforehand"
    )
    if claim.caveat:
        remarks.append(claim.caveat)
    return Row(claim, verdict, "; ".join(remarks), numbers)


def record(step: Step, ledger: Ledger) -> None:
    """Record the number of claims by verdict, and the verdict of each claim that was tested."""
    for verdict in get_args(Verdict):
        step.number(f"claims.count.{verdict.replace(' ', '_')}", ledger.count(verdict))
    for row in ledger.rows:
        if not isinstance(row.claim.finding, Open | NotTestable):
            step.number(f"claims.{row.claim.id.lower()}.verdict", row.verdict)
