"""The claims ledger: each claim of the paper, our estimate, and a verdict by a stated rule.

A comparison supports its claim when the whole interval of the paired difference lies above
zero, and does not when it does not. Whether the paper's own gain lies inside our interval is
said beside it and does not change the verdict.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from radtransfer.errors import InputError
from radtransfer.evaluation.performance import METRICS, Evaluation
from radtransfer.report.labels import TRADITIONAL, family, model_label

if TYPE_CHECKING:
    from pathlib import Path

    from radtransfer.stats.result import Estimate

PRIMARY_NETWORK = "vgg16_finetuned"
"""The paper's main model; named before any result was seen."""

SCRATCH_NETWORK = "custom_cnn_scratch"

Verdict = Literal["supported", "not supported", "not testable", "not examined"]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Comparison(_Strict):
    """The claim is tested by a paired difference between two kinds of model."""

    kind: Literal["comparison"]
    model: Literal["network"]
    reference: Literal["traditional", "scratch"]
    metric: str


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
    difference : float or None
        The paper's gain as a fraction.
    finding : Comparison, Open or NotTestable
        How the row is filled.
    section : str or None
        Notebook whose page holds the evidence.
    """

    id: str = Field(pattern=r"^C\d+$")
    claim: str
    paper: str
    difference: float | None = None
    finding: Annotated[Comparison | Open | NotTestable, Field(discriminator="kind")]
    section: str | None = None


@dataclass(frozen=True)
class Row:
    """One row of the ledger."""

    claim: Claim
    verdict: Verdict
    remark: str
    estimate: Estimate | None = None


@dataclass(frozen=True)
class Ledger:
    """All rows; shows itself as a table whose links lead to the evidence."""

    rows: tuple[Row, ...]

    def count(self, verdict: Verdict) -> int:
        """Number of claims with a verdict."""
        return sum(row.verdict == verdict for row in self.rows)

    def _repr_html_(self) -> str:
        head = ("Claim", "Paper's figure", "Our estimate", "n", "Test", "Verdict", "Evidence")
        body = "".join(_row_html(row) for row in self.rows)
        return (
            '<div class="rt-table" role="region" aria-label="Claims ledger" tabindex="0"><table>'
            "<caption>Every claim of the paper under test, with the verdict of this study.</caption>"
            f"<thead><tr>{''.join(f'<th scope="col">{h}</th>' for h in head)}</tr></thead>"
            f"<tbody>{body}</tbody></table></div>"
        )


def _row_html(row: Row) -> str:
    claim, estimate = row.claim, row.estimate
    ours = n = test = "–"
    if estimate is not None:
        ours = _points(estimate)
        n = "; ".join(f"{count} {unit}" for unit, count in estimate.n.items())
        test = escape(estimate.method)
    link = f'<a href="{claim.section}.html">{claim.section}</a>' if claim.section else "–"
    return (
        f'<tr><th scope="row">{claim.id}. {escape(claim.claim)}</th><td>{escape(claim.paper)}</td>'
        f"<td>{ours}</td><td>{n}</td><td>{test}</td>"
        f"<td><strong>{row.verdict}</strong>: {escape(row.remark)}</td><td>{link}</td></tr>"
    )


def _points(estimate: Estimate) -> str:
    """A difference of fractions, in percentage points."""

    def signed(value: float) -> str:
        return f"{100 * value:+.1f}".replace("-", "−")

    assert estimate.low is not None
    assert estimate.high is not None
    return (
        f"{signed(estimate.estimate)} points "
        f"({estimate.level:.0%} CI {signed(estimate.low)} to {signed(estimate.high)})"
    )


def load_claims(path: Path) -> tuple[Claim, ...]:
    """Read the paper's claims.

    Parameters
    ----------
    path : Path
        YAML list of claims.

    Raises
    ------
    InputError
        If the file does not follow the schema, naming the claim and the field.
    """
    try:
        claims = tuple(Claim.model_validate(entry) for entry in yaml.safe_load(path.read_text("utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{path.name}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    if len({claim.id for claim in claims}) != len(claims):
        raise InputError(f"{path.name}: a claim id stands twice")
    return claims


def fill_ledger(claims: tuple[Claim, ...], evaluation: Evaluation) -> Ledger:
    """Fill every row of the ledger from an evaluation.

    Parameters
    ----------
    claims : tuple of Claim
        From :func:`load_claims`.
    evaluation : Evaluation
        Must hold the primary network, the network from scratch and a traditional baseline.

    Returns
    -------
    Ledger
    """
    return Ledger(tuple(_fill(claim, evaluation) for claim in claims))


def _fill(claim: Claim, evaluation: Evaluation) -> Row:
    finding = claim.finding
    if isinstance(finding, Open):
        return Row(claim, "not examined", finding.why)
    if isinstance(finding, NotTestable):
        return Row(claim, "not testable", finding.why)
    network = evaluation.models[PRIMARY_NETWORK]
    if network.weights != "imagenet":
        return Row(
            claim, "not testable", "no ImageNet weights could be had for this run, so nothing was transferred"
        )
    reference = evaluation.best(TRADITIONAL) if finding.reference == "traditional" else SCRATCH_NETWORK
    estimate = evaluation.difference(PRIMARY_NETWORK, reference, finding.metric)
    assert estimate.low is not None
    assert estimate.high is not None
    remark = (
        f"{METRICS[finding.metric]} of {model_label(PRIMARY_NETWORK, network.weights)} "
        f"against {model_label(reference)}"
    )
    if claim.difference is not None:
        inside = estimate.low <= claim.difference <= estimate.high
        remark += f"; the paper's gain lies {'inside' if inside else 'outside'} our interval"
    if family(reference) == "scratch":
        remark += "; the two differ in architecture as well as in their start"
    return Row(claim, "supported" if estimate.low > 0 else "not supported", remark, estimate)
