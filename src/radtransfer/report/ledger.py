"""The claims ledger: each claim of the paper, our estimate, and a verdict by a stated rule.

A comparison supports its claim when the whole interval of the paired difference lies above
zero, and does not when it does not. A claim of being as good is supported when the interval
lies above the margin of non-inferiority. Whether the paper's own gain lies inside our interval is
said beside it and does not change the verdict. The estimates are the recorded numbers of the
chapters: the ledger computes nothing anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from radtransfer import paths
from radtransfer.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from radtransfer.report.numbers import Number, Registry
    from radtransfer.report.step import Step

Verdict = Literal["supported", "not supported", "not testable", "not examined"]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Comparison(_Strict):
    """The claim is tested by a recorded paired difference.

    Attributes
    ----------
    number : str
        Key of the difference in the numbers registry.
    weights : str
        Key of the text that says what the network started from; the row is not testable unless
        it is ImageNet.
    """

    kind: Literal["comparison"]
    number: str
    weights: str


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
    difference : tuple of float or None
        The paper's gain as a fraction, from and to.
    finding : Comparison, NonInferiority, Open or NotTestable
        How the row is filled.
    caveat : str
        What the verdict must be read with.
    section : str or None
        Notebook whose page holds the evidence.
    """

    id: str = Field(pattern=r"^C\d+$")
    claim: str
    paper: str
    difference: tuple[float, float] | None = None
    finding: Annotated[Comparison | NonInferiority | Open | NotTestable, Field(discriminator="kind")]
    caveat: str = ""
    section: str | None = None


@dataclass(frozen=True)
class Row:
    """One row of the ledger."""

    claim: Claim
    verdict: Verdict
    remark: str
    number: Number | None = None


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
    claim, number = row.claim, row.number
    ours = n = "–"
    if number is not None:
        ours = f"{escape(number.description)}: {number.interval_text}; {escape(number.method)}"
        n = number.show("n")
    link = f'<a href="{claim.section}.html">{claim.section}</a>' if claim.section else "–"
    return (
        f'<tr><th scope="row">{claim.id}. {escape(claim.claim)}</th><td>{escape(claim.paper)}</td>'
        f"<td>{ours}</td><td>{n}</td><td><strong>{row.verdict}</strong>: {escape(row.remark)}</td>"
        f"<td>{link}</td></tr>"
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
    if "ImageNet" not in (start := registry.get(finding.weights).text):
        return Row(claim, "not testable", f"the network started from {start}, so nothing was transferred")
    number = registry.get(finding.number)
    if number.low is None or number.high is None:
        raise InputError(f"{claim.id}: {finding.number} has no interval")
    verdict: Verdict = "supported" if number.low > 0 else "not supported"
    remarks = [f"the interval {'lies above' if number.low > 0 else 'does not lie above'} zero"]
    if claim.difference is not None:
        start_of, end_of = claim.difference
        overlap = number.low <= end_of and start_of <= number.high
        remarks.append(f"the paper's gain lies {'inside' if overlap else 'outside'} it")
    if claim.caveat:
        remarks.append(claim.caveat)
    return Row(claim, verdict, "; ".join(remarks), number)


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
    return Row(claim, "supported" if equal else "not supported", "; ".join(remarks), number)


def record(step: Step, ledger: Ledger) -> None:
    """Record the number of claims by verdict, and the verdict of each claim that was tested."""
    for verdict in get_args(Verdict):
        step.number(f"claims.count.{verdict.replace(' ', '_')}", ledger.count(verdict))
    for row in ledger.rows:
        if not isinstance(row.claim.finding, Open | NotTestable):
            step.number(f"claims.{row.claim.id.lower()}.verdict", row.verdict)
