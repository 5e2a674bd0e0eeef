"""Splits and folds that cannot leak: a patient, duplicate group or image in two parts is refused.

The unit that is dealt to a part is a *block*: patients joined by duplicate images. Within strata of
label, sex and age band blocks are put in the order of a hash of their patients' ids and the seed, and cut
so that every part gets its share of images; row order and file names play no role, and few patients
change part when others are added.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from radtransfer.data.cohort import exclude
from radtransfer.errors import InputError, LeakageError
from radtransfer.hashing import sha256_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from radtransfer.data.cohort import Cohort, Flow

PARTS = ("train", "validation", "test")
IDS = ("image_id", "patient_id", "group_id")

OFFICIAL_SPLIT = "official_split"
OFFICIAL_FOLD = "official_fold"

LEAKS = "patient or duplicate group in a later official part"
"""Reason for leaving an image out of an official split."""

AGE_BAND_EDGES = (40.0, 60.0)
"""Years; strata of age for dealing patients to parts."""


def _check_no_leak(table: pd.DataFrame, column: str) -> None:
    twice = table.loc[table["image_id"].duplicated(), "image_id"]
    if len(twice):
        raise LeakageError(f"image {twice.iloc[0]} stands in the split twice")
    for kind, key in (("patient", "patient_id"), ("duplicate group", "group_id")):
        parts = table.groupby(key, sort=False)[column].nunique()
        if (parts > 1).any():
            name = parts.index[parts > 1][0]
            where = sorted(map(str, table.loc[table[key] == name, column].unique()))
            raise LeakageError(
                f"{kind} {name} stands in {len(where)} parts: {', '.join(where)}",
                hint="deal whole patients and duplicate groups; make_split and make_folds do",
            )


def _check_columns(table: pd.DataFrame, column: str) -> pd.DataFrame:
    wanted = [*IDS, column]
    missing = [name for name in wanted if name not in table]
    if missing:
        raise InputError(f"the split has no column {', '.join(missing)}")
    table = table[wanted].reset_index(drop=True)
    if table.isna().to_numpy().any():
        raise InputError("the split has missing values")
    return table


@dataclass(frozen=True)
class Split:
    """Images in training, validation and test part.

    Parameters
    ----------
    table : DataFrame
        Columns image_id, patient_id, group_id and part (train, validation, test).

    Raises
    ------
    LeakageError
        If a patient, duplicate group or image stands in two parts; names it.
    InputError
        If a column is missing or a part is unknown.
    """

    table: pd.DataFrame

    def __post_init__(self) -> None:
        table = _check_columns(self.table, "part")
        unknown = set(table["part"]) - set(PARTS)
        if unknown:
            raise InputError(f"unknown part {sorted(unknown)[0]!r}", hint=f"known: {', '.join(PARTS)}")
        _check_no_leak(table, "part")
        object.__setattr__(self, "table", table)

    def ids(self, part: str) -> tuple[str, ...]:
        """Image ids of a part, in the order of the table."""
        if part not in PARTS:
            raise InputError(f"unknown part {part!r}", hint=f"known: {', '.join(PARTS)}")
        return tuple(self.table.loc[self.table["part"] == part, "image_id"])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of who is where; independent of row order."""
        return sha256_json(sorted(map(list, self.table[["image_id", "part"]].itertuples(index=False))))


@dataclass(frozen=True)
class Folds:
    """Images in folds for cross-validation.

    Parameters
    ----------
    table : DataFrame
        Columns image_id, patient_id, group_id and fold (0 to k - 1), and optionally stratum, by which
        validation patients are dealt.

    Raises
    ------
    LeakageError
        As for :class:`Split`.
    InputError
        If a fold is empty or there is only one.
    """

    table: pd.DataFrame

    def __post_init__(self) -> None:
        strata = self.table["stratum"].tolist() if "stratum" in self.table else [""] * len(self.table)
        table = _check_columns(self.table, "fold").assign(stratum=strata)
        folds = sorted(set(table["fold"]))
        if len(folds) < 2 or folds != list(range(len(folds))):
            raise InputError(f"folds {folds} are not 0, 1, ... without a gap")
        _check_no_leak(table, "fold")
        object.__setattr__(self, "table", table)

    @property
    def n_folds(self) -> int:
        """Number of folds."""
        return int(self.table["fold"].max()) + 1

    def ids(self, fold: int) -> tuple[str, ...]:
        """Image ids of a fold, in the order of the table."""
        return tuple(self.table.loc[self.table["fold"] == fold, "image_id"])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of who is where; independent of row order."""
        columns = self.table[["image_id", "fold", "stratum"]].itertuples(index=False)
        return sha256_json(sorted([image, int(fold), stratum] for image, fold, stratum in columns))

    def split(self, fold: int, *, validation_fraction: float, seed: int) -> Split:
        """Split whose test part is one fold.

        Parameters
        ----------
        fold : int
            Test fold.
        validation_fraction : float
            Share of all images that validate; taken by patient from the other folds.
        seed : int
            Seed of the choice of validation patients.

        Returns
        -------
        Split
        """
        if not 0 <= fold < self.n_folds:
            raise InputError(f"there is no fold {fold}", hint=f"folds are 0 to {self.n_folds - 1}")
        test = self.table["fold"] == fold
        rest = self.table.loc[~test]
        share = validation_fraction * len(self.table) / len(rest)
        if not 0 < share < 1:
            raise InputError(f"validation_fraction {validation_fraction} leaves no training images")
        dealt = _deal(
            _blocks(rest),
            rest["stratum"].to_numpy(str),
            rest["patient_id"].to_numpy(str),
            (1 - share, share),
            # another order than that of the folds, or validation would come from one of them
            seed=f"{seed}:validation:{fold}",
        )
        part = pd.Series("test", index=self.table.index)
        part.loc[rest.index] = np.array(PARTS)[dealt]
        return Split(self.table[list(IDS)].assign(part=part))


def make_split(
    cohort: Cohort, *, task: str, fractions: Sequence[float] = (0.8, 0.1, 0.1), seed: int
) -> Split:
    """Deal a cohort's patients to training, validation and test part.

    Parameters
    ----------
    cohort : Cohort
        Images with a known label of the task.
    task : str
        Whose label is stratified by.
    fractions : sequence of three floats
        Shares of training, validation and test; they sum to 1.
    seed : int
        Seed of the deal.

    Returns
    -------
    Split
    """
    if len(fractions) != 3 or min(fractions) < 0 or not np.isclose(sum(fractions), 1):
        raise InputError(f"fractions {tuple(fractions)} are not three shares that sum to 1")
    table, strata = _table(cohort, task)
    dealt = _deal(_blocks(table), strata, table["patient_id"].to_numpy(str), fractions, seed=seed)
    return Split(table.assign(part=np.array(PARTS)[dealt]))


def make_folds(cohort: Cohort, *, task: str, n_folds: int, seed: int) -> Folds:
    """Deal a cohort's patients to folds of equal size.

    Parameters
    ----------
    cohort : Cohort
        Images with a known label of the task.
    task : str
        Whose label is stratified by.
    n_folds : int
        Number of folds, at least 2.
    seed : int
        Seed of the deal.

    Returns
    -------
    Folds
    """
    if n_folds < 2:
        raise InputError(f"{n_folds} folds", hint="cross-validation needs at least 2")
    table, strata = _table(cohort, task)
    blocks = _blocks(table)
    if blocks.max() + 1 < n_folds:
        raise InputError(f"{blocks.max() + 1} independent patients cannot fill {n_folds} folds")
    dealt = _deal(blocks, strata, table["patient_id"].to_numpy(str), (1 / n_folds,) * n_folds, seed=seed)
    return Folds(table.assign(fold=dealt, stratum=strata))


def official_split(cohort: Cohort, *, drop_leaking: bool = False) -> tuple[Split, Flow]:
    """Split that the dataset's authors propose, from the column ``official_split``.

    Parameters
    ----------
    cohort : Cohort
    drop_leaking : bool
        The one way to repair a split that leaks: training images whose patient or duplicate group
        (directly or through others) stands in the validation or test part are left out, and validation
        images of which this is true of the test part. The test part stays as it was proposed.

    Returns
    -------
    Split
    Flow
        Images left out, counted: those without a part, and those that leaked.

    Raises
    ------
    LeakageError
        If the split leaks and is not to be repaired; counts the images and names some.
    InputError
        If the dataset has no official split.
    """
    if OFFICIAL_SPLIT not in cohort.frame or cohort.frame[OFFICIAL_SPLIT].isna().all():
        raise InputError(f"{cohort.dataset} has no official split", hint="make_split deals one")
    part = cohort.frame[OFFICIAL_SPLIT]
    order = part.map({name: place for place, name in enumerate(PARTS)}).fillna(-1).to_numpy(dtype=int)
    blocks = _blocks(cohort.frame)
    latest = np.full(int(blocks.max()) + 1, -1)
    np.maximum.at(latest, blocks, order)
    leaks = (order >= 0) & (order < latest[blocks])
    if leaks.any() and not drop_leaking:
        ids = cohort.frame["image_id"]
        told = [
            f"{int((leaks & (order == place)).sum())} of {int((order == place).sum())} {name} images"
            for place, name in enumerate(PARTS[:-1])
            if (leaks & (order == place)).any()
        ]
        raise LeakageError(
            f"the official split of {cohort.dataset} leaks: {' and '.join(told)} share a patient or "
            f"duplicate group with a later part, first {', '.join(ids[leaks].iloc[:3])}",
            hint="drop_leaking=True leaves them out",
        )
    kept, flow = exclude(cohort, [("no official part", order < 0), (LEAKS, leaks)])
    return Split(kept.frame[list(IDS)].assign(part=kept.frame[OFFICIAL_SPLIT])), flow


def official_folds(cohort: Cohort, *, task: str) -> Folds:
    """Folds that the dataset's authors propose, from the column ``official_fold``.

    Parameters
    ----------
    cohort : Cohort
        Images with a known label of the task.
    task : str
        By whose label validation patients are stratified.

    Returns
    -------
    Folds

    Raises
    ------
    LeakageError
        If patients or duplicate groups stand in several folds; counts them and names the first.
    InputError
        If the dataset has no official folds, or images have none.
    """
    fold = cohort.frame.get(OFFICIAL_FOLD)
    if fold is None or fold.isna().all():
        raise InputError(f"{cohort.dataset} has no official folds", hint="make_folds deals some")
    if fold.isna().any():
        raise InputError(f"{int(fold.isna().sum())} images of {cohort.dataset} have no official fold")
    table, strata = _table(cohort, task)
    folds_of_patient = fold.groupby(table["patient_id"]).nunique()
    folds_of_group = fold.groupby(table["group_id"]).nunique()
    for kind, folds in (("patients", folds_of_patient), ("duplicate groups", folds_of_group)):
        if (folds > 1).any():
            raise LeakageError(
                f"the official folds of {cohort.dataset} leak: {int((folds > 1).sum())} {kind} stand in "
                f"several, first {folds.index[folds > 1][0]}",
                hint="make_folds deals others",
            )
    return Folds(table.assign(fold=fold.to_numpy(dtype=int), stratum=strata))


def _table(cohort: Cohort, task: str) -> tuple[pd.DataFrame, NDArray[np.str_]]:
    """Ids of the images and the stratum of each; labels must be known."""
    frame = cohort.frame
    label = frame[f"label_{task}"]
    if label.isna().any():
        raise InputError(
            f"{int(label.isna().sum())} images have no label for {task}", hint="select the cohort first"
        )
    age = frame["age_years"].astype("Float64").to_numpy(dtype=float, na_value=np.nan)
    band = np.where(np.isnan(age), -1, np.digitize(age, AGE_BAND_EDGES))
    strata = (
        label.astype(int).astype(str) + "/" + frame["sex"].fillna("?").astype(str) + "/" + band.astype(str)
    )
    return frame[list(IDS)].reset_index(drop=True), strata.to_numpy(str)


def _blocks(table: pd.DataFrame) -> NDArray[np.intp]:
    """Connected components of patients and duplicate groups: block number of each row."""
    patient = pd.factorize(table["patient_id"])[0]
    group = pd.factorize(table["group_id"])[0]
    n_patients = patient.max() + 1
    size = n_patients + group.max() + 1
    graph = coo_array((np.ones(len(table), dtype=np.int8), (patient, group + n_patients)), shape=(size, size))
    component = connected_components(graph, directed=False)[1][patient]
    return np.unique(component, return_inverse=True)[1].astype(np.intp)


def _deal(
    blocks: NDArray[np.intp],
    strata: NDArray[np.str_],
    patients: NDArray[np.str_],
    fractions: Sequence[float],
    *,
    seed: int | str,
) -> NDArray[np.intp]:
    """Part number of each row; whole blocks, shares kept within strata as well as blocks allow.

    Every block has a place on a line from 0 to 1, and a part is an interval of that line. Blocks of a
    stratum (label/sex/age band) are spread evenly over the line in the order of their hashes; the blocks
    of all age bands of a sex are then spread anew in the order of their places, those of both sexes of a
    label, and at last all. Thus every interval holds its share of all images, of each label, of each sex
    within a label, and so on. A patient who is added moves the others a little, so that only those near
    the end of an interval change part.
    """
    patient_names, patient = np.unique(patients, return_inverse=True)
    strata_names, of_row = np.unique(strata, return_inverse=True)
    n_blocks = int(blocks.max()) + 1
    first = np.full(n_blocks, len(patient_names))
    np.minimum.at(first, blocks, patient)
    # of patients with images in several strata the last counts: a patient with the disease is one
    own = np.zeros(n_blocks, dtype=np.intp)
    np.maximum.at(own, blocks, of_row)
    place = np.array([_hashed(f"{seed}:{name}") for name in patient_names[first]])
    for depth in range(max(name.count("/") for name in strata_names) + 1, -1, -1):
        names, level = np.unique(
            ["/".join(name.split("/")[:depth]) for name in strata_names], return_inverse=True
        )
        stratum = level[own]
        images = np.bincount(blocks[level[of_row] == stratum[blocks]], minlength=n_blocks).astype(float)
        # every stratum begins elsewhere: else small ones would never reach the interval of a small part
        begin = np.array([_hashed(f"{seed}:{name}") for name in names])[stratum] if depth else 0.0
        place = (_spread(place, stratum, images) + begin) % 1
    ends = np.cumsum(fractions)[:-1]
    return np.searchsorted(ends, place, side="right")[blocks].astype(np.intp)


def _hashed(text: str) -> float:
    """Number in [0, 1) that is the same everywhere and has nothing to do with what the text means."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


def _spread(
    place: NDArray[np.float64], stratum: NDArray[np.intp], images: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Spread the blocks of each stratum over [0, 1) in the order of their places, by their images."""
    order = np.lexsort((place, stratum))
    counts = images[order]
    totals = np.bincount(stratum, weights=images)
    before = np.concatenate([[0.0], np.cumsum(totals)[:-1]])
    middle = np.cumsum(counts) - counts / 2 - before[stratum[order]]
    spread = np.empty(len(place))
    spread[order] = middle / totals[stratum[order]]
    return spread
