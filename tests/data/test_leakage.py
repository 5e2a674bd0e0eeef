"""Leaks are counted, shortcuts are learned on other patients, clean data stay quiet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from toy_cohorts import cohort

from radtransfer.data.cohort import Cohort
from radtransfer.data.duplicates import Duplicates, find_duplicates
from radtransfer.data.formats import load_format
from radtransfer.data.leakage import (
    LeakageReport,
    border,
    cross_validated_auc,
    examine,
    learned_shares,
)
from radtransfer.data.phantoms import PhantomSpec, generate
from radtransfer.data.splits import make_folds, make_split
from radtransfer.errors import InputError


def flagged(report: LeakageReport) -> set[tuple[str, str]]:
    return {(finding.kind, finding.subject) for finding in report.flagged}


def many(n: int, **columns: object) -> Cohort:
    """One image each of ``n`` patients, classes in turn."""
    return cohort([f"p{i:04d}" for i in range(n)], [i % 2 for i in range(n)], **columns)


def duplicates(n: int, pairs: list[tuple[int, int]], identical: list[bool]) -> Duplicates:
    found = np.array(pairs, dtype=np.intp).reshape(-1, 2)
    return Duplicates(found, np.ones(len(found)), np.array(identical, dtype=bool), n)


def test_shares_by_hand() -> None:
    label = np.array([0, 1, 1, 1, 0, 0, 1, 0])
    fold = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    value = pd.Series(["a", "a", "b", "b", "a", "a", "b", None])
    shares = learned_shares(value, label, fold, ordered=False)
    # fold 0 has one of two with "a", both with "b", and three of four in all, which count five times
    assert shares[4, 1] == pytest.approx((1 + 5 * 0.75) / (2 + 5))
    assert shares[6, 1] == pytest.approx((2 + 5 * 0.75) / (2 + 5))
    assert shares[7, 1] == pytest.approx(0.75)  # never seen
    np.testing.assert_allclose(shares.sum(axis=1), 1)


@pytest.mark.parametrize("shape", ["rising", "falling", "in the middle"])
def test_any_shape_is_learned(shape: str) -> None:
    rng = np.random.default_rng(3)
    value = rng.uniform(-1, 1, 800)
    driver = {"rising": value, "falling": -value, "in the middle": 0.5 - np.abs(value)}[shape]
    label = (driver + rng.normal(0, 0.4, 800) > 0).astype(int)
    block, fold = np.arange(800), np.arange(800) % 2
    shares = learned_shares(pd.Series(value), label, fold, ordered=True)
    result = cross_validated_auc(label, shares, fold, block)
    best = cross_validated_auc(label, np.column_stack([-driver, driver]), fold, block)
    assert best.estimate - 0.02 < result.estimate <= best.estimate + 0.005
    assert result.p_value is not None
    assert result.p_value < 1e-20


def test_chance_is_not_a_finding() -> None:
    rng = np.random.default_rng(8)
    p_values = []
    for _ in range(100):
        label, value = rng.integers(0, 2, (2, 80))
        fold = np.argsort(np.argsort(label, kind="stable"), kind="stable") % 2
        shares = learned_shares(pd.Series(value), label, fold, ordered=False)
        p_values.append(cross_validated_auc(label, shares, fold, np.arange(80)).p_value)
    assert np.mean(np.array(p_values) < 0.05) <= 0.05


def test_images_of_a_patient_are_not_independent() -> None:
    """One value per patient repeated twenty times is no surer than once."""
    rng = np.random.default_rng(1)
    label, value = rng.integers(0, 2, (2, 60))
    fold, block = np.arange(60) % 2, np.arange(60)
    shares = learned_shares(pd.Series(value), label, fold, ordered=False)
    once = cross_validated_auc(label, shares, fold, block)
    repeated = cross_validated_auc(*(np.repeat(x, 20, axis=0) for x in (label, shares, fold, block)))
    assert repeated.estimate == pytest.approx(once.estimate)
    assert repeated.p_value == pytest.approx(once.p_value, rel=0.1)


def test_leaks_of_the_official_split_are_counted() -> None:
    parts = pd.Series(["train", "test", "test", "train", None, "test"], dtype="str")
    toy = cohort(["a", "a", "b", "c", "b", "d"], [0, 0, 1, 1, 1, 0], official_split=parts)
    found = duplicates(6, [(2, 3), (4, 5)], [True, False])
    report = examine(toy, task="pneumonia", duplicates=found)
    leaks = {f.subject: (f.n_images, f.n_patients, f.flagged) for f in report.findings if f.kind == "leak"}
    # a row without a part is in none: neither patient b nor the pair (4, 5) stands in two
    assert leaks == {
        "patient": (2, 1, True),
        "group": (0, 0, False),
        "identical": (2, 2, True),
        "near": (2, 2, True),
    }
    patient = next(f for f in report.findings if f.subject == "patient")
    assert "1 of 3 in test, 1 of 2 in train" in patient.finding
    warnings = {f.subject: f.n_images for f in report.findings if f.kind == "warning"}
    assert warnings == {"patient": 0, "identical": 1, "near": 4, "label": 2}
    assert len(report.to_frame()) == len(report.findings)


def test_near_duplicates_of_one_patient_are_no_warning() -> None:
    toy = cohort(["a", "a", "b"], [0, 1, 0])
    report = examine(toy, task="pneumonia", duplicates=duplicates(3, [(0, 1)], [False]))
    assert flagged(report) == {("warning", "patient")}


def test_own_splits_do_not_leak() -> None:
    toy = many(60)
    splits = {
        "holdout": make_split(toy, task="pneumonia", seed=1),
        "folds": make_folds(toy, task="pneumonia", n_folds=5, seed=1),
    }
    report = examine(toy, task="pneumonia", splits=splits)
    assert {f.split for f in report.findings if f.kind == "leak"} == {"holdout", "folds"}
    assert not report.flagged


def test_what_takes_no_part_is_left_out() -> None:
    label = [0, 1, None, 1]
    toy = cohort(list("abca"), label, exclusion_pneumonia=pd.Series([None, None, None, "far"], dtype="str"))
    report = examine(toy, task="pneumonia")
    assert (report.n_images, report.n_patients) == (2, 2)
    assert not report.flagged


def test_few_patients_and_constant_properties_are_not_tested() -> None:
    few = examine(many(30, view=pd.Series(["PA", "AP"] * 15, dtype="str")), task="pneumonia")
    assert "needed" in few.not_tested["view"]
    assert few.not_tested["sex"] == "the same in all images"
    assert few.not_tested["site"] == few.not_tested["file_bytes"] == "not known"
    assert not [f for f in few.findings if f.kind == "shortcut"]


def test_a_property_that_tells_the_class_without_a_mistake() -> None:
    report = examine(many(60, view=pd.Series(["PA", "AP"] * 30, dtype="str")), task="pneumonia")
    (view,) = report.flagged
    assert (view.subject, view.auc) == ("view", 1.0)
    assert view.p_adjusted is not None
    assert 0 < view.p_adjusted < 1e-6


def test_what_is_missing_tells_too_and_three_classes_are_averaged() -> None:
    n = 150
    toy = cohort(
        [f"p{i}" for i in range(n)],
        [0] * n,
        label_kind=pd.array([i % 3 for i in range(n)], dtype="Int64"),
        age_years=pd.array([None if i % 3 == 2 else 40.0 for i in range(n)], dtype="Float64"),
    )
    toy = Cohort(toy.frame, "toy", ("kind",), {"kind": ("a", "b", "c")})
    (age,) = examine(toy, task="kind").flagged
    # the third class is told apart, the first two are not: (3/4 + 3/4 + 1) / 3 at best
    assert age.auc is not None
    assert 0.75 < age.auc < 0.9


def test_mean_grey_of_the_frame() -> None:
    image = np.zeros((1, 32, 48), np.uint8)
    image[0, 2:-2, 3:-3] = 200
    assert border(image).tolist() == [0]
    image[0, :2] = 255
    assert border(image)[0] == pytest.approx(255 * 2 * 48 / (32 * 48 - 28 * 42))


def test_a_hospital_that_gives_the_label_away_is_found() -> None:
    spec = PhantomSpec(n_patients=160, images_per_patient=1, size=48, site_shortcut=0.6, seed=2)
    phantoms = generate(spec)
    report = examine(phantoms.cohort, task="pneumonia", images=phantoms.images)
    site = next(f for f in report.findings if f.subject == "site")
    assert flagged(report) == {("shortcut", "site")}
    # phi = .6 with half of the patients in either hospital: AUC = (1 + .6) / 2
    assert site.low is not None
    assert site.high is not None
    assert site.low < 0.8 < site.high


@pytest.mark.parametrize("seed", [1, 4, 5])
def test_it_is_found_although_one_half_of_the_patients_hardly_shows_it(seed: int) -> None:
    label = np.tile([0, 1], 100)
    fold = np.repeat([0, 1], 100)
    rng = np.random.default_rng(seed)
    shown = np.where(fold == 0, label, rng.integers(0, 2, 200)) ^ (rng.uniform(size=200) < 0.1)
    scores = np.column_stack([1 - shown, shown]).astype(float)
    result = cross_validated_auc(label, scores, fold, np.arange(200))
    alone = cross_validated_auc(label[:100], scores[:100], fold[:100], np.arange(100))
    assert alone.p_value is not None
    assert result.p_value == pytest.approx(2 * alone.p_value)


def test_clean_phantoms_stay_quiet() -> None:
    for seed in range(6):
        phantoms = generate(PhantomSpec(n_patients=100, size=32, seed=seed))
        report = examine(
            phantoms.cohort,
            task="pneumonia",
            images=phantoms.images,
            splits={"split": make_split(phantoms.cohort, task="pneumonia", seed=seed)},
        )
        assert not report.flagged
        assert len([f for f in report.findings if f.kind == "shortcut"]) >= 6


def test_refusals() -> None:
    toy = many(4)
    with pytest.raises(InputError, match="did you mean"):
        examine(toy, task="pneumoni")
    with pytest.raises(InputError, match="images 3"):
        examine(toy, task="pneumonia", images=np.zeros((3, 8, 8), np.uint8))
    with pytest.raises(InputError, match="split odd has 2 rows"):
        examine(toy, task="pneumonia", splits={"odd": np.array([0, 1])})


# --- the traps of the real datasets -----------------------------------------------------------------------


@pytest.mark.shared
def test_traps_of_nih(shared_data: Path) -> None:
    root = shared_data / "nih_pneumonia_1000"
    report = examine(load_format("nih_pneumonia").read_cohort(root, {}), task="pneumonia")
    assert flagged(report) >= {("warning", "patient"), ("shortcut", "view"), ("shortcut", "patient_number")}
    assert next(f for f in report.findings if f.subject == "patient").n_patients == 21


@pytest.mark.shared
def test_traps_of_kermany(shared_data: Path) -> None:
    root = shared_data / "kermany_pneumonia_224"
    found = load_format("kermany").read_cohort(root, {})
    if "file_bytes" not in found.frame:
        found = found.assign(file_bytes=[(root / path).stat().st_size for path in found.frame["path"]])
    report = examine(found, task="pneumonia")
    assert flagged(report) >= {
        ("leak", "patient"),
        ("shortcut", "file_bytes"),
        ("shortcut", "patient_number"),
    }
    size = next(f for f in report.findings if f.subject == "file_bytes")
    assert size.auc == pytest.approx(0.889, abs=0.005)
    assert next(f for f in report.findings if f.kind == "leak").n_patients == 170


@pytest.mark.shared
def test_traps_of_phe_sich(shared_data: Path) -> None:
    found = load_format("phe_sich").read_cohort(shared_data / "phe_sich", {})
    for task, by_distance in (("haemorrhage", 0.840), ("haemorrhage_all", 0.947)):
        report = examine(found, task=task)
        assert flagged(report) >= {("warning", "patient"), ("shortcut", "slice_fraction")}
        place = next(f for f in report.findings if f.subject == "slice_fraction")
        assert place.auc == pytest.approx(by_distance, abs=0.025)


@pytest.mark.slow
@pytest.mark.shared
def test_traps_of_brain_tumour_mri(shared_data: Path) -> None:
    root = shared_data / "brain_tumor_mri"
    layout = load_format("brain_tumor_mri")
    found = layout.read_cohort(root, {})
    images = np.stack([layout.read_image(root, row) for row in found.frame.to_dict("records")])
    report = examine(found, task="tumour4", images=images, duplicates=find_duplicates(images))
    leaks = {f.subject: f.finding for f in report.flagged if f.kind == "leak"}
    assert "216 of 1311 in test" in leaks["identical"]
    n_near = int(leaks["near"].split(" of 1311 in test")[0].rsplit(" ", 1)[1])
    assert 0.35 <= n_near / 1311 <= 0.47
