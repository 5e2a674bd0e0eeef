"""Protocols as what they believe: who is one patient, and which images are compared.

A split of this package cannot leak, and nothing here makes one that can. A protocol that leaks is one that
does not know better: its cohort has *forgotten* who the patients are, so that every image is a patient of
its own, and is then dealt by the same code as any other. Deals remember what they believed; what leaks is
counted, and intervals are made, with the identities that are known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import fcluster, linkage

from radtransfer.baselines.shortcuts import thumbnails
from radtransfer.data.splits import IDS, Split, make_folds, make_split, official_split
from radtransfer.errors import InputError
from radtransfer.hashing import sha256_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from radtransfer.data.cohort import Cohort

BY_IMAGE: Final = "by_image"
"""Name of the protocol that takes every image for a patient of its own."""


INTERVALS: Final = 50
"""Quantile intervals within which a number counts as the same when classes are matched."""


@dataclass(frozen=True)
class Deal:
    """Images dealt to parts by one protocol.

    Attributes
    ----------
    name : str
        Of the protocol: ``"by_image"``.
    splits : tuple of Split
        One for every model that is fitted; ids are what the protocol believes.
    """

    name: str
    splits: tuple[Split, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of who is where in every split, and of who is believed to be whom."""
        columns = [*IDS, "part"]
        return sha256_json([sorted(map(list, split.table[columns].to_numpy(str))) for split in self.splits])

    def shared(self, unit: Mapping[str, str]) -> float:
        """Share of test images of which a training or validation image is of the same unit.

        Parameters
        ----------
        unit : mapping of str to str
            Patient of each image, as far as it is known.
        """
        shared, n_test = 0, 0
        for split in self.splits:
            seen = {unit[name] for part in ("train", "validation") for name in split.ids(part)}
            tested = [unit[name] for name in split.ids("test")]
            shared += sum(name in seen for name in tested)
            n_test += len(tested)
        return shared / n_test


def forget_identity(cohort: Cohort) -> Cohort:
    """Cohort of somebody who does not know its patients and series: every image stands alone."""
    return cohort.assign(patient_id=cohort.frame["image_id"], group_id=cohort.frame["image_id"])


def guess_identity(cohort: Cohort, group: NDArray[Any]) -> Cohort:
    """Cohort in which groups of images stand for the patients that nobody knows.

    Parameters
    ----------
    cohort : Cohort
    group : ndarray, shape (n,)
        Group of each image, see :func:`similar_groups`.
    """
    names = pd.Series(group, index=cohort.frame.index).map("group_{}".format)
    return cohort.assign(patient_id=names, group_id=names)


def similar_groups(images: NDArray[np.uint8], correlation: float) -> NDArray[np.intp]:
    """Pseudo-series: images joined by chains of similar ones.

    Neighbouring slices of a series resemble each other, so that a chain may join all of it although its ends
    look different: single linkage.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, height, width)
    correlation : float
        Least Pearson correlation of the 32 x 32 thumbnails of two images that are joined, below 1.

    Returns
    -------
    ndarray of int, shape (n,)
        Number of each image's group.
    """
    flat = thumbnails(images)
    flat -= flat.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    flat /= np.where(norm > 0, norm, 1)
    first, second = np.triu_indices(len(flat), k=1)
    # rounding may lift a correlation above 1
    distance = np.maximum(1 - (flat @ flat.T)[first, second], 0)
    return np.asarray(fcluster(linkage(distance, "single"), 1 - correlation, "distance"), dtype=np.intp)


def cross_validated(
    name: str,
    cohort: Cohort,
    *,
    task: str,
    n_folds: int,
    n_folds_used: int | None = None,
    validation_fraction: float,
    seed: int,
) -> Deal:
    """Deal a cohort to folds by what it says of its patients.

    Parameters
    ----------
    name : str
        Of the protocol.
    cohort : Cohort
        All labels of the task known.
    task : str
    n_folds : int
    n_folds_used : int, optional
        The first so many are tested; all by default.
    validation_fraction : float
        Share of all images that validate.
    seed : int

    Returns
    -------
    Deal
        A split for every fold that is tested.
    """
    folds = make_folds(cohort, task=task, n_folds=n_folds, seed=seed)
    used = range(min(n_folds_used or n_folds, n_folds))
    return Deal(name, tuple(folds.split(k, validation_fraction=validation_fraction, seed=seed) for k in used))


def as_proposed(
    name: str, cohort: Cohort, *, task: str, validation_fraction: float, seed: int, repair: bool = False
) -> Deal:
    """Test part that the dataset's authors propose; validation images are taken from the others.

    Parameters
    ----------
    name : str
        Of the protocol.
    cohort : Cohort
        With ``official_split``; it leaks as far as the cohort knows of it.
    task : str
    validation_fraction : float
        Share of the images that are not tested.
    seed : int
    repair : bool
        Leave out training images that the cohort knows to leak.

    Returns
    -------
    Deal
        Of one split.

    Raises
    ------
    LeakageError
        If the proposal is known to leak and is not to be repaired.
    """
    proposed = official_split(cohort, drop_leaking=repair)[0].table
    is_test = proposed["part"] == "test"
    here = cohort.keep(cohort.frame["image_id"].isin(proposed.loc[~is_test, "image_id"]))
    return Deal(name, (_tested_on(proposed[is_test], here, task, validation_fraction, seed),))


def elsewhere(
    name: str, here: Cohort, there: Cohort, *, task: str, validation_fraction: float, seed: int
) -> Deal:
    """Train and validate on one cohort, test on another.

    Parameters
    ----------
    name : str
        Of the protocol.
    here, there : Cohort
        Of different datasets: whose images are learned from, and whose are tested.
    task : str
        Of ``here``.
    validation_fraction : float
        Share of the images of ``here``.
    seed : int

    Returns
    -------
    Deal
        Of one split.
    """
    return Deal(name, (_tested_on(there.frame, here, task, validation_fraction, seed),))


def _tested_on(tested: pd.DataFrame, rest: Cohort, task: str, validation_fraction: float, seed: int) -> Split:
    """Split with a given test part, the rest dealt to training and validation."""
    shares = (1 - validation_fraction, validation_fraction, 0)
    dealt = make_split(rest, task=task, fractions=shares, seed=seed).table
    return Split(pd.concat([dealt, tested[list(IDS)].assign(part="test")], ignore_index=True))


def thinned(name: str, deal: Deal, like: Deal, *, label: Mapping[str, int], seed: int) -> Deal:
    """Deal with as few training images of each class as another has, the others left out at random.

    Parameters
    ----------
    name : str
        Of the protocol.
    deal : Deal
        Whose training parts are thinned.
    like : Deal
        How many are kept.
    label : mapping of str to int
        Class of each image.
    seed : int
        Of the choice.

    Returns
    -------
    Deal
        What repairing a leak costs because fewer images are left to learn from.
    """
    rng = np.random.default_rng(seed)
    splits = []
    for split, other in zip(deal.splits, like.splits, strict=True):
        wanted = pd.Series(other.ids("train")).map(label).value_counts()
        table = split.table.sample(frac=1, random_state=rng)
        place = table.groupby([table["part"], table["image_id"].map(label)]).cumcount()
        kept = (table["part"] != "train") | (place < table["image_id"].map(label).map(wanted).fillna(0))
        splits.append(Split(table[kept].sort_index()))
    return Deal(name, tuple(splits))


def matched_rows(cohort: Cohort, *, task: str, column: str, seed: int) -> NDArray[np.bool_]:
    """As many images of the one class as of the other at every value of a property.

    Parameters
    ----------
    cohort : Cohort
        All labels of the binary task known.
    task : str
    column : str
        The property; a number is cut at its :data:`INTERVALS` quantiles.
    seed : int
        Of the choice among images of a value.

    Returns
    -------
    ndarray of bool, shape (n,)
        Images in which the property tells next to nothing of the class.

    Raises
    ------
    InputError
        If the column is not there, or the classes have no value in common.
    """
    if column not in cohort.frame:
        raise InputError(f"cohort {cohort.dataset} has no column {column!r} to match on")
    value = cohort.frame[column]
    if pd.api.types.is_numeric_dtype(value):
        value = pd.qcut(value.astype(float), INTERVALS, labels=False, duplicates="drop")
    label = cohort.labels(task)
    order = np.random.default_rng(seed).permutation(cohort.n_images)
    place = label.iloc[order].groupby([value.iloc[order], label.iloc[order]]).cumcount().reindex(label.index)
    least = label.groupby(value).value_counts().unstack(fill_value=0).min(axis=1)
    matched = (place < value.map(least)).to_numpy(dtype=bool)
    if not matched.any():
        raise InputError(f"cohort {cohort.dataset}: no image of one class has the {column} of one of another")
    return matched
