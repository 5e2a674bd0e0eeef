"""Smaller training sets: nested shares of the patients of a training part."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def nested_share(
    patients: Sequence[str], labels: NDArray[np.integer], fraction: float, *, seed: int
) -> NDArray[np.intp]:
    """Images of a share of the patients; smaller shares are parts of larger ones.

    Patients stand in an order that a hash of their id and the seed gives, and are taken from the top
    until there are enough images, each class on its own: a small share has the classes in the
    proportion of the whole, and no patient in part.

    Parameters
    ----------
    patients : sequence of str, length n
        Patient of each image.
    labels : array of int, shape (n,)
        Number of each image's class. A patient counts to the highest of theirs.
    fraction : float
        Share of the images, in (0, 1].
    seed : int
        Another seed is another order.

    Returns
    -------
    array of int
        Positions of the images, ascending; at least one patient of each class.
    """
    if fraction == 1:
        return np.arange(len(patients))
    of_patient: dict[str, list[int]] = {}
    for row, patient in enumerate(patients):
        of_patient.setdefault(patient, []).append(row)
    of_class: dict[int, list[str]] = {}
    for patient, rows in of_patient.items():
        of_class.setdefault(int(labels[rows].max()), []).append(patient)
    taken: list[int] = []
    for members in of_class.values():
        members.sort(key=lambda patient: hashlib.sha256(f"{seed}:{patient}".encode()).digest())
        images = [len(of_patient[patient]) for patient in members]
        # never more than asked for, but for the first patient
        enough = np.searchsorted(np.cumsum(images), math.floor(fraction * sum(images) + 1e-9), side="right")
        for patient in members[: max(1, int(enough))]:
            taken += of_patient[patient]
    return np.array(sorted(taken), dtype=np.intp)
