"""The readings of a multi-reader multi-case study, checked once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from radtransfer.stats import checks
from radtransfer.stats.checks import FloatArray

Design: TypeAlias = Literal["factorial", "cases nested in readers", "cases nested in modalities"]


def _levels(values: ArrayLike, name: str) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Distinct labels (numbers in numeric order) and the position of each value among them."""
    array = np.asarray(values, dtype=object)
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}; one label per reading wanted")
    if any(value is None or value != value for value in array):
        raise ValueError(f"a {name} label is missing")
    labels, index = np.unique(array.astype(str), return_inverse=True)
    try:
        order = np.argsort(labels.astype(float), kind="stable")
    except ValueError:
        order = np.arange(len(labels))
    rank = np.empty(len(labels), dtype=np.int64)
    rank[order] = np.arange(len(labels))
    return tuple(str(label) for label in labels[order]), rank[index]


@dataclass(frozen=True, slots=True, eq=False)
class ReaderStudy:
    """Readings of cases by readers in one or more modalities.

    Parameters
    ----------
    rating : ndarray of float, shape (n_modalities, n_readers, n_cases)
        Higher means more suspicious; NaN where a reader did not read a case.
    truth : ndarray of int, shape (n_cases,)
        1 where the condition is present.
    modalities, readers, cases : tuple of str
        Labels of the three axes.

    Raises
    ------
    ValueError
        If shapes disagree, truth is not 0/1 or lacks a class, a rating is infinite, or a reader read no case
        of one class in a modality.
    """

    rating: FloatArray
    truth: NDArray[np.int64]
    modalities: tuple[str, ...]
    readers: tuple[str, ...]
    cases: tuple[str, ...]

    def __post_init__(self) -> None:
        expected = (len(self.modalities), len(self.readers), len(self.cases))
        if self.rating.shape != expected or self.truth.shape != (expected[2],):
            raise ValueError(
                f"rating has shape {self.rating.shape} and truth {self.truth.shape}; {expected} and "
                f"({expected[2]},) wanted"
            )
        if np.isinf(self.rating).any():
            raise ValueError("a rating is infinite")
        object.__setattr__(self, "truth", checks.binary(self.truth, name="truth").astype(np.int64))
        if not 0 < self.truth.sum() < len(self.truth):
            raise ValueError(
                f"all {len(self.truth)} cases have truth {int(self.truth[0]) if len(self.truth) else '?'}: "
                "accuracy needs cases with and without the condition"
            )
        for label, count in (("with", self.n_read_positive), ("without", self.n_read_negative)):
            if (count == 0).any():
                i, j = np.argwhere(count == 0)[0]
                raise ValueError(
                    f"reader {self.readers[j]} read no case {label} the condition in modality "
                    f"{self.modalities[i]}"
                )

    @classmethod
    def from_long(
        cls,
        *,
        rating: ArrayLike,
        truth: ArrayLike,
        reader: ArrayLike,
        case: ArrayLike,
        modality: ArrayLike | None = None,
    ) -> ReaderStudy:
        """Build a study from one row per reading, in any order.

        Parameters
        ----------
        rating, truth, reader, case, modality : array_like, shape (n_readings,)
            Rating, reference standard of the case (0 or 1) and labels. Without ``modality`` there is one.
            A reading that was not done is a row that is not there.

        Returns
        -------
        ReaderStudy

        Raises
        ------
        ValueError
            For a missing or non-numeric rating, a case with two truths, a reading given twice, or unequal
            lengths.
        """
        try:
            scores = np.asarray(rating, dtype=float)
        except (TypeError, ValueError):
            raise ValueError("rating is not numeric") from None
        size = len(scores)
        if size == 0:
            raise ValueError("no readings given")
        columns: dict[str, Any] = {"truth": truth, "reader": reader, "case": case}
        if modality is not None:
            columns["modality"] = modality
        for name, column in columns.items():
            if np.asarray(column, dtype=object).shape != (size,):
                raise ValueError(
                    f"{name} has shape {np.asarray(column, dtype=object).shape}, rating ({size},)"
                )
        if not np.isfinite(scores).all():
            row = int(np.flatnonzero(~np.isfinite(scores))[0])
            raise ValueError(
                f"the rating of reading {row} is {scores[row]}; leave out the row of a reading not done"
            )
        modalities, i = _levels(modality if modality is not None else ["all"] * size, "modality")
        readers, j = _levels(reader, "reader")
        cases, k = _levels(case, "case")
        labels = checks.binary(truth, name="truth").astype(np.int64)
        status = np.full(len(cases), -1, dtype=np.int64)
        status[k] = labels
        if (status[k] != labels).any():
            row = int(np.flatnonzero(status[k] != labels)[0])
            raise ValueError(f"case {cases[k[row]]} has truth 0 in one row and 1 in another")
        cell = np.ravel_multi_index((i, j, k), (len(modalities), len(readers), len(cases)))
        unique, counts = np.unique(cell, return_counts=True)
        if len(unique) < size:
            a, b, c = np.unravel_index(unique[counts > 1][0], (len(modalities), len(readers), len(cases)))
            raise ValueError(
                f"reader {readers[int(b)]} has two ratings of case {cases[int(c)]} in modality "
                f"{modalities[int(a)]}"
            )
        array = np.full((len(modalities), len(readers), len(cases)), np.nan)
        array[i, j, k] = scores
        return cls(rating=array, truth=status, modalities=modalities, readers=readers, cases=cases)

    @property
    def n_modalities(self) -> int:
        """Number of modalities."""
        return len(self.modalities)

    @property
    def n_readers(self) -> int:
        """Number of readers."""
        return len(self.readers)

    @property
    def n_cases(self) -> int:
        """Number of cases."""
        return len(self.cases)

    @property
    def read(self) -> NDArray[np.bool_]:
        """Which readings exist, shape (n_modalities, n_readers, n_cases)."""
        return ~np.isnan(self.rating)

    @property
    def n_read_positive(self) -> NDArray[np.int64]:
        """Cases with the condition per modality and reader, shape (n_modalities, n_readers)."""
        return np.asarray(self.read[..., self.truth == 1].sum(axis=-1), dtype=np.int64)

    @property
    def n_read_negative(self) -> NDArray[np.int64]:
        """Cases without the condition per modality and reader, shape (n_modalities, n_readers)."""
        return np.asarray(self.read[..., self.truth == 0].sum(axis=-1), dtype=np.int64)

    @property
    def complete(self) -> bool:
        """Whether every reader read every case in every modality."""
        return bool(self.read.all())

    @property
    def design(self) -> Design:
        """How cases are crossed with readers and modalities, seen from the readings."""
        by_reader = self.read.any(axis=0)
        by_modality = self.read.any(axis=1)
        if self.n_readers > 1 and (by_reader.sum(axis=0) == 1).all():
            return "cases nested in readers"
        if self.n_modalities > 1 and (by_modality.sum(axis=0) == 1).all():
            return "cases nested in modalities"
        return "factorial"

    @property
    def counts(self) -> dict[str, int]:
        """Counts by unit, as results carry them."""
        return {
            "cases": self.n_cases,
            "positive": int(self.truth.sum()),
            "readers": self.n_readers,
            "modalities": self.n_modalities,
            "readings": int(self.read.sum()),
        }

    def with_modalities(self, names: tuple[str, ...]) -> ReaderStudy:
        """The same study with some of its modalities, in the order given."""
        index = [self.modalities.index(name) for name in names]
        return ReaderStudy(self.rating[index], self.truth, names, self.readers, self.cases)
