"""Result of a comparison of modalities over readers and cases."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from radtransfer.stats.result import Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class MRMCResult:
    """Comparison of modalities by several readers on several cases.

    Parameters
    ----------
    method : str
        Analysis, covariance and what is random, in words a methods section could print.
    metric : str
        "auc", "partial_auc", "sensitivity" or "specificity".
    readers, cases : str
        "random" or "fixed".
    design : str
        How cases are crossed with readers and modalities.
    statistic_name : str
        "F", "chi2" or "t".
    statistic : float or None
        Test that all modalities are equal; None for 0/0, all accuracies equal without variance.
    df1, p_value : float
        Its (numerator) degrees of freedom and p-value.
    df2 : float or None
        Denominator degrees of freedom; None for a chi-square test or where they are infinite.
    differences : tuple of Estimate
        Each pair of modalities, first minus second.
    means : tuple of Estimate
        Reader-averaged accuracy of each modality.
    values : tuple of dict
        ``{"reader", "modality", <metric>}`` for each reader in each modality.
    reader_differences : tuple of Estimate
        Each pair of modalities for each reader, over cases only.
    components : dict of str to float
        Mean squares, variance components and covariances of the method.
    n : dict of str to int
        Cases, positive cases, readers, modalities, readings.
    notes : tuple of str
        What a reader of the result must know: truncations, degenerate variances.
    """

    method: str
    metric: str
    readers: str
    cases: str
    design: str
    statistic_name: str
    statistic: float | None
    df1: float
    df2: float | None
    p_value: float
    differences: tuple[Estimate, ...]
    means: tuple[Estimate, ...]
    values: tuple[dict[str, Any], ...]
    components: dict[str, float]
    n: dict[str, int]
    reader_differences: tuple[Estimate, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def difference(self) -> Estimate:
        """Difference of the first pair of modalities."""
        return self.differences[0]

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary that serialises to JSON."""
        return {
            "method": self.method,
            "metric": self.metric,
            "statistic_name": self.statistic_name,
            "statistic": self.statistic,
            "df1": self.df1,
            "df2": self.df2,
            "p_value": self.p_value,
            "difference": self.difference.to_dict(),
            "differences": [estimate.to_dict() for estimate in self.differences],
            "means": [estimate.to_dict() for estimate in self.means],
            "readers": list(self.values),
            "reader_differences": [estimate.to_dict() for estimate in self.reader_differences],
            "components": self.components,
            "random": {"readers": self.readers == "random", "cases": self.cases == "random"},
            "design": self.design,
            **{f"n_{unit}": count for unit, count in self.n.items()},
            "notes": list(self.notes),
        }

    def to_json(self) -> str:
        """JSON text of :meth:`to_dict`."""
        return json.dumps(self.to_dict(), allow_nan=False)

    @property
    def test_text(self) -> str:
        """The test in the notation of a results section."""
        p = "p < .0001" if self.p_value < 1e-4 else f"p = {self.p_value:.4f}"
        df = f"{self.df1:g}" if self.df2 is None else f"{self.df1:g}, {self.df2:.2f}"
        value = "0/0" if self.statistic is None else f"{self.statistic:.4f}"
        return f"equal modalities: {self.statistic_name}({df}) = {value}, {p}"

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {unit}" for unit, count in self.n.items())
        lines = [self.method, counts, self.test_text]
        for estimate in (*self.means, *self.differences):
            interval = f" ({estimate.level:.0%} CI {estimate.low:.4f} to {estimate.high:.4f})"
            lines.append(f"  {estimate.name}: {estimate.estimate:.4f}{interval}")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])
