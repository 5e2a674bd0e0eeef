"""Readings, scores and reference standard of one set of cases, checked once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from radtransfer.errors import DataError, InputError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]
    FloatArray = NDArray[np.float64]

MIN_CASES = 25
"""Fewest positive, and fewest negative, cases of a finding that is analysed."""

BENCHMARK, REFERENCE = "benchmark", "reference"


@dataclass(frozen=True)
class ReaderTables:
    """Decisions of readers and scores of algorithms on the same cases, for several findings.

    Parameters
    ----------
    truth : DataFrame of {0, 1}
        Reference standard: one row per case, one column per finding.
    readings : dict of str to DataFrame of {0, 1}
        Decisions of each reader, with the cases and findings of ``truth``.
    roles : dict of str to {"benchmark", "reference"}
        Whether a reader is measured against the reference standard, or helped to make it.
    scores : dict of str to DataFrame of float
        Scores of each algorithm, with the cases of ``truth`` and some of its findings; higher means more
        suspicious.
    covariates : DataFrame of float
        What may explain discrepancies: one row per case.
    source : str
        What the readings are, in words.

    Raises
    ------
    DataError
        If cases or findings disagree, a decision is neither 0 nor 1, or a score is not finite.
    """

    truth: pd.DataFrame
    readings: Mapping[str, pd.DataFrame]
    roles: Mapping[str, str]
    scores: Mapping[str, pd.DataFrame]
    covariates: pd.DataFrame
    source: str

    def __post_init__(self) -> None:
        if not self.truth.index.is_unique:
            raise DataError("the reference standard names a case twice")
        for name, frame in (("reference standard", self.truth), *self.readings.items()):
            if not frame.index.equals(self.truth.index) or list(frame.columns) != list(self.truth.columns):
                raise DataError(f"{name}: cases or findings are not those of the reference standard")
            if not frame.isin([0, 1]).to_numpy().all():
                raise DataError(f"{name}: a decision is neither 0 nor 1")
        for name, frame in self.scores.items():
            if not frame.index.equals(self.truth.index) or not set(frame.columns) <= set(self.truth.columns):
                raise DataError(f"{name}: cases or findings are not those of the reference standard")
            if not np.isfinite(frame.to_numpy(dtype=float)).all():
                raise DataError(f"{name}: a score is missing or infinite")
        if set(self.roles) != set(self.readings) or not set(self.roles.values()) <= {BENCHMARK, REFERENCE}:
            raise DataError("every reader needs a role, benchmark or reference")
        if not self.covariates.index.equals(self.truth.index):
            raise DataError("covariates: the cases are not those of the reference standard")

    def readers(self, role: str) -> tuple[str, ...]:
        """Names of the readers with a role, in their order."""
        return tuple(name for name, given in self.roles.items() if given == role)

    def decisions(self, finding: str, role: str | None = None) -> pd.DataFrame:
        """Decisions on one finding: one row per case, one column per reader."""
        names = self.readings if role is None else self.readers(role)
        return pd.DataFrame({name: self.readings[name][finding] for name in names}, index=self.truth.index)

    def findings(self, wanted: Iterable[str] | None = None, *, min_cases: int = MIN_CASES) -> tuple[str, ...]:
        """Findings to analyse.

        Parameters
        ----------
        wanted : iterable of str, optional
            Names; by default every finding that all algorithms score and that has at least ``min_cases``
            positive and negative cases.
        min_cases : int
            See above.

        Raises
        ------
        InputError
            If a name is unknown, no algorithm scores it, or none has cases enough.
        """
        scored = [str(name) for name in self.truth if all(name in frame for frame in self.scores.values())]
        if wanted is not None:
            for name in wanted:
                if name not in scored:
                    raise unknown_name("finding scored by every algorithm", name, scored)
            return tuple(wanted)
        enough = tuple(
            str(name)
            for name in scored
            if min(self.truth[name].sum(), (1 - self.truth[name]).sum()) >= min_cases
        )
        if not enough:
            raise InputError(f"no finding has {min_cases} positive and {min_cases} negative cases")
        return enough

    def distinct_models(self, finding: str) -> dict[str, tuple[str, ...]]:
        """Algorithms that order the cases differently, each with those that order them alike.

        Returns
        -------
        dict of str to tuple of str
            First name in the order of ``scores``, and all names that share its order of the cases: every
            threshold makes the same decisions of them.
        """
        groups: dict[bytes, list[str]] = {}
        for name, frame in self.scores.items():
            order = rankdata(frame[finding].to_numpy(dtype=float), method="dense")
            groups.setdefault(order.tobytes(), []).append(name)
        return {names[0]: tuple(names) for names in groups.values()}

    def not_probabilities(self) -> tuple[str, ...]:
        """Algorithms with a score outside 0 to 1: only the order of their scores means something."""
        return tuple(
            name
            for name, frame in self.scores.items()
            if not ((frame.to_numpy(dtype=float) >= 0) & (frame.to_numpy(dtype=float) <= 1)).all()
        )

    def dependence(self, findings: Iterable[str]) -> pd.DataFrame:
        """Which algorithms have identical scores: columns finding, n_distinct, identical."""
        rows = []
        for finding in findings:
            distinct = self.distinct_models(finding)
            same = [" = ".join(names) for names in distinct.values() if len(names) > 1]
            rows.append(
                {"finding": finding, "n_distinct": len(distinct), "identical": "; ".join(same) or "none"}
            )
        return pd.DataFrame(rows)
