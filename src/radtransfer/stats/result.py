"""The one result type of the library."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number with its uncertainty and what it is made of.

    Parameters
    ----------
    name : str
        What is estimated, in words: ``"AUC"``, ``"difference in sensitivity"``.
    estimate : float
        Point estimate.
    low, high : float or None
        Limits of the interval; None where no interval exists, never NaN.
    level : float
        Confidence level of the interval, in (0, 1).
    method : str
        How interval and test were made, in words a methods section could print.
    p_value : float or None
        Two-sided unless ``method`` says otherwise.
    statistic, df : float or None
        Test statistic and its degrees of freedom, where there is a test.
    n : dict of str to int
        Counts by unit, for instance ``{"patients": 682, "images": 1000}``.
    details : dict
        Further named parts that serialise to JSON.

    Raises
    ------
    ValueError
        If a number is NaN, an interval is reversed or does not hold the level.
    """

    name: str
    estimate: float
    low: float | None = None
    high: float | None = None
    level: float = 0.95
    method: str = ""
    p_value: float | None = None
    statistic: float | None = None
    df: float | None = None
    n: dict[str, int] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for label in ("estimate", "low", "high", "p_value", "statistic", "df"):
            value = getattr(self, label)
            if value is None:
                continue
            if math.isnan(value):
                raise ValueError(f"{self.name}: {label} is NaN")
            # numpy scalars would break format specifications and JSON
            object.__setattr__(self, label, float(value))
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"{self.name}: interval {self.low} to {self.high} is reversed")
        if not 0 < self.level < 1:
            raise ValueError(f"{self.name}: level {self.level} is not between 0 and 1")

    def __str__(self) -> str:
        text = f"{self.name} {self.estimate:.4g}"
        if self.low is not None and self.high is not None:
            text += f" ({self.level:.0%} CI {self.low:.4g} to {self.high:.4g})"
        if self.p_value is not None:
            text += ", p < .0001" if self.p_value < 1e-4 else f", p = {self.p_value:.4f}"
        counts = ", ".join(f"{value} {unit}" for unit, value in self.n.items())
        return text + (f"; {counts}" if counts else "") + (f" [{self.method}]" if self.method else "")

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary that serialises to JSON."""
        return asdict(self)

    def to_json(self) -> str:
        """JSON text of :meth:`to_dict`."""
        return json.dumps(self.to_dict(), allow_nan=False)
