from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from radtransfer.data.cohort import Cohort
from radtransfer.data.splits import Split
from radtransfer.errors import InputError, LeakageError
from radtransfer.protocols.deals import (
    Deal,
    as_proposed,
    cross_validated,
    elsewhere,
    forget_identity,
    guess_identity,
    matched_rows,
    similar_groups,
    thinned,
)


def cohort(n_patients: int = 40, images: int = 3, **columns: object) -> Cohort:
    """Patients with several images each, every second one diseased."""
    patient = np.repeat(np.arange(n_patients), images)
    ids = [f"i{k:04d}" for k in range(len(patient))]
    frame = pd.DataFrame(
        {
            "image_id": ids,
            "patient_id": [f"p{k:03d}" for k in patient],
            "group_id": ids,
            "dataset": "toy",
            "modality": "xray",
            "path": [f"{name}.png" for name in ids],
            "age_years": pd.array([None] * len(ids), dtype="Float64"),
            "sex": None,
            "view": None,
            "site": None,
            "label_disease": pd.array(patient % 2, dtype="Int64"),
        }
        | columns
    )
    return Cohort(frame, "toy", ("disease",))


def units(known: Cohort) -> dict[str, str]:
    return dict(zip(known.frame["image_id"], known.frame["patient_id"], strict=True))


def deal(name: str, known: Cohort) -> Deal:
    return cross_validated(name, known, task="disease", n_folds=4, validation_fraction=0.1, seed=1)


def test_only_who_forgot_the_patients_shares_them() -> None:
    known = cohort()
    # of three images of a patient dealt to four folds the two others are hardly ever both in the same one
    assert deal("by_image", forget_identity(known)).shared(units(known)) > 0.8
    assert deal("by_patient", known).shared(units(known)) == 0


def test_shared_counts_test_images_by_hand() -> None:
    known = cohort(n_patients=4, images=2)
    table = known.frame[["image_id", "patient_id", "group_id"]].assign(
        patient_id=known.frame["image_id"],
        part=["train", "test", "test", "test", "validation", "test", "train", "train"],
    )
    # i0001 has its patient in training, i0005 in validation, i0002 and i0003 nowhere
    assert Deal("toy", (Split(table),)).shared(units(known)) == 2 / 4


def test_digest_tells_beliefs_apart_even_where_images_lie_alike() -> None:
    known = cohort(images=1)
    lone, named = deal("a", known), deal("b", forget_identity(known))
    shuffled = tuple(Split(split.table.sample(frac=1, random_state=1)) for split in lone.splits)
    assert Deal("c", shuffled).digest == lone.digest
    assert named.digest != lone.digest


def test_a_proposal_that_leaks_passes_only_where_patients_are_forgotten() -> None:
    part = ["train", "train", "test"] * 40
    known = cohort(official_split=part)
    options = {"task": "disease", "validation_fraction": 0.2, "seed": 3}
    with pytest.raises(LeakageError, match="leaks"):
        as_proposed("official", known, **options)  # type: ignore[arg-type]
    forgotten = as_proposed("official", forget_identity(known), **options)  # type: ignore[arg-type]
    assert forgotten.shared(units(known)) == 1
    assert sorted(forgotten.splits[0].ids("test")) == sorted(known.frame["image_id"][2::3])


def test_repair_keeps_the_test_part_and_thinning_keeps_the_leak() -> None:
    # 30 patients stand in one part only, 10 in both
    part = [["train"] * 3, ["test"] * 3, ["train"] * 3, ["train", "train", "test"]]
    known = cohort(official_split=np.concatenate([part[(k // 2) % 4] for k in range(40)]))
    options = {"task": "disease", "validation_fraction": 0.2, "seed": 3}
    wrong = as_proposed("official", forget_identity(known), **options)  # type: ignore[arg-type]
    right = as_proposed("repaired", known, repair=True, **options)  # type: ignore[arg-type]
    label = dict(zip(known.frame["image_id"], known.frame["label_disease"].astype(int), strict=True))
    fewer = thinned("fewer", wrong, right, label=label, seed=1)
    assert set(right.splits[0].ids("test")) == set(wrong.splits[0].ids("test"))
    assert right.shared(units(known)) == 0 < fewer.shared(units(known))
    for number in (0, 1):
        counts = [sum(label[i] == number for i in each.splits[0].ids("train")) for each in (fewer, right)]
        assert counts[0] == counts[1]
    assert set(fewer.splits[0].ids("train")) < set(wrong.splits[0].ids("train"))


def test_elsewhere_tests_all_of_the_other_cohort() -> None:
    here = cohort()
    there = cohort(n_patients=10)
    there = there.assign(**{name: "b" + there.frame[name] for name in ("image_id", "patient_id", "group_id")})
    split = elsewhere("elsewhere", here, there, task="disease", validation_fraction=0.25, seed=1).splits[0]
    assert set(split.ids("test")) == set(there.frame["image_id"])
    assert {*split.ids("train"), *split.ids("validation")} == set(here.frame["image_id"])


def test_chains_of_similar_images_are_one_group() -> None:
    rng = np.random.default_rng(0)
    # each slice is a mixture of two neighbours: those far apart have nothing in common
    noise = rng.normal(size=(14, 32, 32))
    series = noise[:6] + noise[1:7], noise[8:13] + noise[9:14]
    images = np.concatenate([np.clip(128 + 30 * part, 0, 255) for part in series]).astype(np.uint8)
    # neighbours share one of two terms: their correlation is about one half
    groups = similar_groups(images, 0.4)
    assert [set(groups[:6]), set(groups[6:])] == [{groups[0]}, {groups[6]}]
    assert groups[0] != groups[6]
    assert len(set(similar_groups(images, 0.6))) == len(images)


def test_groups_stand_for_patients() -> None:
    guessed = guess_identity(cohort(n_patients=2, images=2), np.array([1, 1, 1, 2]))
    assert guessed.frame["patient_id"].tolist() == ["group_1"] * 3 + ["group_2"]


def test_matching_takes_a_property_away() -> None:
    rng = np.random.default_rng(4)
    label = np.repeat(np.arange(300) % 2, 2)
    known = cohort(n_patients=300, images=2, file_bytes=np.exp(label + rng.normal(size=600)) * 1000 // 1)
    rows = matched_rows(known, task="disease", column="file_bytes", seed=1)
    size, kept = known.frame["file_bytes"].to_numpy(float), label[rows]
    assert kept.mean() == 0.5
    assert rows.sum() > 200

    def auc(values: np.ndarray, positive: np.ndarray) -> float:
        pairs = values[positive == 1][:, None] - values[positive == 0]
        return float((pairs > 0).mean() + (pairs == 0).mean() / 2)

    assert auc(size, label) > 0.7
    assert abs(auc(size[rows], kept) - 0.5) < 0.03


def test_matching_by_name_has_as_many_of_each_class_at_every_value() -> None:
    known = cohort(n_patients=60, images=1, site=["a", "a", "b", "a", "b", "b"] * 10)
    kept = known.keep(matched_rows(known, task="disease", column="site", seed=1)).frame
    counts = kept.groupby(["site", "label_disease"]).size().unstack()
    # of site a there are 10 without and 20 with, of b 20 without and 10 with
    assert counts.to_numpy().tolist() == [[10, 10], [10, 10]]


def test_matching_by_what_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match="no column 'file_bytes'"):
        matched_rows(cohort(), task="disease", column="file_bytes", seed=1)
