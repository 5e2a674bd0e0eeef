from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_cohorts import cohort

from radtransfer.data.cohort import Cohort
from radtransfer.data.splits import (
    LEAKS,
    PARTS,
    Folds,
    Split,
    make_folds,
    make_split,
    official_folds,
    official_split,
)
from radtransfer.errors import InputError, LeakageError


def table(*rows: tuple[str, str, str, str | int], column: str = "part") -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["image_id", "patient_id", "group_id", column])


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (("b", "p", "h", "test"), "patient p "),
        (("b", "q", "g", "test"), "group g "),
        (("a", "q", "h", "test"), "image a "),
    ],
)
def test_a_leak_cannot_be_constructed(second: tuple[str, str, str, str], message: str) -> None:
    first = ("a", "p", "g", "train")
    with pytest.raises(LeakageError, match=message):
        Split(table(first, second))
    folds = [(*row[:3], fold) for fold, row in enumerate((first, second))]
    with pytest.raises(LeakageError, match=message):
        Folds(table(*folds, column="fold"))


def test_a_sound_split_can() -> None:
    split = Split(table(("b", "q", "h", "test"), ("a", "p", "g", "train")))
    assert split.ids("train") == ("a",)
    assert split.ids("validation") == ()
    with pytest.raises(InputError, match="known: train, validation, test"):
        split.ids("dev")


@pytest.mark.parametrize(
    "wrong",
    [
        table(("a", "p", "g", "dev")),
        table(("a", "p", "g", None)),  # type: ignore[arg-type]
        table(("a", "p", "g", "train"))[["image_id"]],
    ],
)
def test_tables_that_are_no_split(wrong: pd.DataFrame) -> None:
    with pytest.raises(InputError):
        Split(wrong)


def test_folds_have_no_gap() -> None:
    with pytest.raises(InputError, match="gap"):
        Folds(table(("a", "p", "g", 0), ("b", "q", "h", 2), column="fold"))


def test_patients_joined_by_duplicates_stay_together() -> None:
    # 60 patients of one image each; duplicates tie 0-1, 1-2, ... 8-9 into a chain
    n = 60
    groups = [f"i{i:05d}" for i in range(n)]
    chain = cohort([f"p{i:03d}" for i in range(n)], [i % 2 for i in range(n)], group_id=groups)
    copies = chain.frame.iloc[:9].assign(image_id=[f"t{i}" for i in range(9)], group_id=groups[1:10])
    twins = pd.concat([chain.frame, copies])
    folds = make_folds(Cohort(twins, "toy", ("pneumonia",)), task="pneumonia", n_folds=5, seed=0)
    fold = folds.table.groupby("patient_id")["fold"].first()
    assert all(fold[f"p{i:03d}"] == fold[f"p{j:03d}"] for i, j in pairwise(range(10)))


@st.composite
def cohorts(draw: st.DrawFn) -> Cohort:
    n_patients = draw(st.integers(20, 40))
    sizes = draw(st.lists(st.integers(1, 4), min_size=n_patients, max_size=n_patients))
    patients = [f"p{i:03d}" for i, size in enumerate(sizes) for _ in range(size)]
    n = len(patients)
    bits = st.lists(st.integers(0, 1), min_size=n, max_size=n)
    twins = draw(st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=4))
    groups = [f"i{i:05d}" for i in range(n)]
    for one, other in twins:
        groups[one] = groups[other]
    ages = draw(st.lists(st.none() | st.integers(18, 80), min_size=n, max_size=n))
    return cohort(
        patients,
        draw(bits),
        group_id=groups,
        sex=["FM"[bit] for bit in draw(bits)],
        age_years=pd.array(ages, dtype="Float64"),
    )


@settings(max_examples=25, deadline=None)
@given(cohorts(), st.integers(0, 2**32 - 1), st.randoms(use_true_random=False))
def test_folds_never_leak_cover_all_and_ignore_row_order(toy: Cohort, seed: int, random: object) -> None:
    folds = make_folds(toy, task="pneumonia", n_folds=4, seed=seed)
    assert set(folds.table["image_id"]) == set(toy.frame["image_id"])
    order = list(range(toy.n_images))
    random.shuffle(order)  # type: ignore[attr-defined]
    shuffled = Cohort(toy.frame.iloc[order], toy.dataset, toy.tasks)
    assert make_folds(shuffled, task="pneumonia", n_folds=4, seed=seed).digest == folds.digest
    # an independent check of the claim of the types, without their code
    for key in ("patient_id", "group_id"):
        assert folds.table.groupby(key)["fold"].nunique().max() == 1
    for fold in range(folds.n_folds):
        split = folds.split(fold, validation_fraction=0.2, seed=seed)
        parts = [set(split.ids(part)) for part in PARTS]
        assert parts[2] == set(folds.table.loc[folds.table["fold"] == fold, "image_id"])
        assert sum(map(len, parts)) == toy.n_images
        assert set.union(*parts) == set(toy.frame["image_id"])


def test_shares_and_strata_are_kept_on_a_large_cohort() -> None:
    rng = np.random.default_rng(0)
    n = 4000
    toy = cohort(
        [f"p{i:05d}" for i in range(n)],
        rng.integers(0, 2, n).tolist(),
        sex=np.where(rng.integers(0, 2, n), "F", "M"),
        age_years=pd.array(rng.uniform(18, 80, n), dtype="Float64"),
    )
    split = make_split(toy, task="pneumonia", fractions=(0.6, 0.2, 0.2), seed=3)
    frame = toy.frame.merge(split.table[["image_id", "part"]])
    for part, share in zip(PARTS, (0.6, 0.2, 0.2), strict=True):
        assert (frame["part"] == part).mean() == pytest.approx(share, abs=0.01)
    by_part = frame.assign(female=frame["sex"] == "F").groupby("part")[["label_pneumonia", "female"]].mean()
    assert np.ptp(by_part.to_numpy(float), axis=0).max() < 0.02  # unstratified: sd of .018 a part
    other = make_split(toy, task="pneumonia", fractions=(0.6, 0.2, 0.2), seed=4)
    assert other.digest != split.digest


def test_few_patients_change_part_when_others_are_added() -> None:
    rng = np.random.default_rng(0)
    n = 1000
    toy = cohort(
        [f"p{i:05d}" for i in range(n)],
        rng.integers(0, 2, n).tolist(),
        sex=np.where(rng.integers(0, 2, n), "F", "M"),
        age_years=pd.array(rng.uniform(18, 80, n), dtype="Float64"),
    )
    fewer = toy.keep(np.arange(n) < 990)
    now, before = (
        make_folds(some, task="pneumonia", n_folds=5, seed=3).table.set_index("image_id")["fold"]
        for some in (toy, fewer)
    )
    moved = (now[before.index] != before).mean()
    assert moved < 0.05, moved  # a deal by row number or by greed moves 80 %


@settings(max_examples=8)
@given(st.integers(0, 2**32 - 1))
def test_a_tenth_more_patients_moves_few_of_the_others(seed: int) -> None:
    """Measured over 12 draws: 7 % of the images change fold (10 % at most), 5 % part of 80:10:10 (6 %)."""
    rng = np.random.default_rng(seed)
    size = 1 + rng.poisson(0.5, 700)
    patients = np.repeat([f"p{name:010d}" for name in rng.choice(10**9, 700, replace=False)], size)
    toy = cohort(
        patients.tolist(),
        rng.integers(0, 2, len(patients)).tolist(),
        sex=np.repeat(np.where(rng.integers(0, 2, 700), "F", "M"), size),
        age_years=pd.array(np.repeat(rng.uniform(18, 80, 700), size), dtype="Float64"),
    )
    new = rng.choice(np.unique(patients), 70, replace=False)
    fewer = toy.keep(~toy.frame["patient_id"].isin(new))
    for column, most, deal in (
        ("fold", 0.15, lambda some: make_folds(some, task="pneumonia", n_folds=5, seed=3)),
        ("part", 0.1, lambda some: make_split(some, task="pneumonia", seed=3)),
    ):
        now, before = (deal(some).table.set_index("image_id")[column] for some in (toy, fewer))
        assert (now[before.index] != before).mean() < most


def test_the_deal_is_the_same_everywhere() -> None:
    """Pinned: hashes of names and exact arithmetic decide, not a generator or the platform."""
    toy = cohort([f"p{i // 2:03d}" for i in range(120)], [i % 3 // 2 for i in range(120)])
    assert make_folds(toy, task="pneumonia", n_folds=5, seed=7).digest.startswith("15b73bde3a46")
    assert make_split(toy, task="pneumonia", seed=7).digest.startswith("f4f5c50152a2")


def test_small_strata_reach_the_smallest_part() -> None:
    """Three patients a stratum: over seeds, a tenth of them is held out, not none."""
    toy = cohort(
        [f"p{i:03d}" for i in range(36)],
        [i % 2 for i in range(36)],
        sex=["FM"[i // 2 % 2] for i in range(36)],
        age_years=pd.array([[30.0, 50.0, 70.0][i // 4 % 3] for i in range(36)], dtype="Float64"),
    )
    held_out: set[str] = set()
    for seed in range(60):
        split = make_split(toy, task="pneumonia", fractions=(0.9, 0, 0.1), seed=seed)
        assert 2 <= len(split.ids("test")) <= 5
        held_out.update(split.ids("test"))
    assert len(held_out) == 36


def test_validation_comes_from_all_other_folds_and_differs_between_them() -> None:
    toy = cohort([f"p{i:05d}" for i in range(1000)], [i % 2 for i in range(1000)])
    folds = make_folds(toy, task="pneumonia", n_folds=5, seed=1)
    fold_of = folds.table.set_index("image_id")["fold"]
    chosen = [set(folds.split(f, validation_fraction=0.1, seed=1).ids("validation")) for f in range(5)]
    for fold, images in enumerate(chosen):
        shares = fold_of[list(images)].value_counts(normalize=True)
        assert set(shares.index) == set(range(5)) - {fold}
        assert shares.between(0.1, 0.4).all(), shares  # .25 each, standard deviation .04
    for one, other in pairwise(chosen):
        assert len(one & other) < 30  # 7.5 to 10 if independent, 75 and more in the order of the folds


@pytest.mark.parametrize("fractions", [(0.5, 0.5), (0.5, 0.4, 0.2), (1.1, -0.1, 0.0)])
def test_shares_must_be_shares(fractions: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="three shares"):
        make_split(cohort(["p", "q", "r"], [0, 1, 0]), task="pneumonia", fractions=fractions, seed=0)


def test_too_few_patients_and_unknown_labels() -> None:
    with pytest.raises(InputError, match="5 folds"):
        make_folds(cohort(["p", "q"], [0, 1]), task="pneumonia", n_folds=5, seed=0)
    with pytest.raises(InputError, match="select the cohort first"):
        make_folds(cohort(["p", "q"], [0, None]), task="pneumonia", n_folds=2, seed=0)


def official(parts: list[str | None], patients: str, groups: str | None = None) -> Cohort:
    n = len(parts)
    columns = {"group_id": list(groups)} if groups else {}
    return cohort(
        list(patients),
        [i % 2 for i in range(n)],
        official_split=pd.Series(parts, dtype="str"),
        **columns,
    )


def test_an_official_split_is_taken_as_it_is() -> None:
    parts = ["train", "validation", "test", "train", None]
    split, flow = official_split(official(parts, "pqrpp"))
    assert split.table.set_index("image_id")["part"].tolist() == parts[:4]
    assert {step.reason: step.n_images for step in flow.steps} == {"no official part": 1, LEAKS: 0}


def test_a_leaking_official_split_is_refused_and_repaired_only_on_demand() -> None:
    # p: two images train, one tests; r and s: trained twice, of one duplicate group, which is no leak;
    # t: validates and trains; u: validates and tests; v is sound
    toy = official(
        ["train", "train", "train", "train", "test", "validation", "train", "validation", "test", "train"],
        "pprspttuuv",
        "abccdefghi",
    )
    with pytest.raises(LeakageError) as error:
        official_split(toy)
    assert "3 of 6 train images and 1 of 2 validation images share a patient" in str(error.value)
    assert "first i00000, i00001, i00006" in str(error.value)
    split, flow = official_split(toy, drop_leaking=True)
    assert split.ids("test") == ("i00004", "i00008")  # never touched
    assert split.ids("validation") == ("i00005",)
    assert split.ids("train") == ("i00002", "i00003", "i00009")
    assert {step.reason: step.n_images for step in flow.steps} == {"no official part": 0, LEAKS: 4}
    # through others: s, whose image has the group of r's, is tested
    through = toy.assign(
        official_split=toy.frame["official_split"].where(toy.frame["patient_id"] != "s", "test")
    )
    assert official_split(through, drop_leaking=True)[0].ids("train") == ("i00009",)


def test_official_folds() -> None:
    toy = cohort(list("ppqr"), [0, 1, 0, 1]).assign(official_fold=pd.array([0, 0, 1, 2], dtype="Int64"))
    folds = official_folds(toy, task="pneumonia")
    assert folds.n_folds == 3
    assert folds.ids(0) == ("i00000", "i00001")
    assert folds.split(0, validation_fraction=0.25, seed=0).ids("test") == ("i00000", "i00001")
    with pytest.raises(LeakageError, match="toy leak: 1 patients stand in several, first p"):
        official_folds(toy.assign(official_fold=pd.array([0, 1, 1, 2], dtype="Int64")), task="pneumonia")
    with pytest.raises(InputError, match="1 images of toy have no official fold"):
        official_folds(toy.assign(official_fold=pd.array([0, 0, 1, None], dtype="Int64")), task="pneumonia")
    for take in (official_split, lambda some: official_folds(some, task="pneumonia")):
        with pytest.raises(InputError, match="has no official"):
            take(cohort(list("pq"), [0, 1]))


def test_the_whole_collection_takes_seconds() -> None:
    """112,120 images of 30,805 patients, as in ChestX-ray14."""
    rng = np.random.default_rng(1)
    patients = np.concatenate([np.arange(30_805), rng.integers(0, 30_805, 112_120 - 30_805)])
    toy = cohort([f"p{i:05d}" for i in patients], rng.integers(0, 2, 112_120).tolist())
    began = time.process_time()  # not the clock on the wall: other processes do not make it slower
    make_folds(toy, task="pneumonia", n_folds=5, seed=0).split(0, validation_fraction=0.1, seed=0)
    assert time.process_time() - began < 10
