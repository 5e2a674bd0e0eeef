"""What was planted in the phantoms is found in them again."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from radtransfer.data.anatomy import _spline_basis
from radtransfer.data.phantoms import PhantomSet, PhantomSpec, generate
from radtransfer.errors import InputError

MODALITIES = ("xray", "ct", "mri")


def labels(phantoms: PhantomSet) -> np.ndarray:
    return phantoms.cohort.frame[f"label_{phantoms.spec.task}"].to_numpy(dtype=int)


def standard_error(auc: float, n_positive: int, n_negative: int) -> float:
    """Hanley and McNeil, Radiology 1982;143:29-36, eq. 1."""
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = auc * (1 - auc) + (n_positive - 1) * (q1 - auc**2) + (n_negative - 1) * (q2 - auc**2)
    return float(np.sqrt(variance / (n_positive * n_negative)))


def told_where(phantoms: PhantomSet) -> np.ndarray:
    """Score of an observer who knows the site, the shape of opacities and nothing else.

    Correlation of the pixels around the site with a bump of the box's size, plane removed.
    """
    scores = []
    for image, (x, y, w, h) in zip(phantoms.images.astype(float), phantoms.opacity_boxes, strict=True):
        size = len(image)
        top, bottom = max(int(y - h / 4), 0), min(int(y + 1.25 * h) + 1, size)
        left, right = max(int(x - w / 4), 0), min(int(x + 1.25 * w) + 1, size)
        row, column = np.mgrid[top:bottom, left:right]
        v, u = (row + 0.5 - y - h / 2) / (h / 2), (column + 0.5 - x - w / 2) / (w / 2)
        bump = np.clip(1 - u**2 - v**2, 0, None) ** 2
        nuisance = np.column_stack([np.ones(u.size), u.ravel(), v.ravel()])
        template = bump.ravel() - nuisance @ np.linalg.lstsq(nuisance, bump.ravel(), rcond=None)[0]
        scores.append(template @ image[top:bottom, left:right].ravel() / np.abs(template).sum())
    return np.array(scores)


@pytest.mark.parametrize(("auc", "images_per_patient"), [(0.7, 2), (0.92, 1)])
def test_evidence_has_the_planted_auc(auc: float, images_per_patient: float) -> None:
    measured, errors = [], []
    for seed in range(4):
        spec = PhantomSpec(
            n_patients=500, images_per_patient=images_per_patient, size=32, auc=auc, seed=seed, prevalence=0.4
        )
        phantoms = generate(spec)
        y = labels(phantoms)
        measured.append(roc_auc_score(y, phantoms.cohort.frame["truth_score"]))
        # images of a patient share half of their evidence: patients, not images, are the sample
        errors.append(standard_error(auc, 200, 300))
    assert abs(np.mean(measured) - auc) < 3 * np.sqrt(np.mean(np.square(errors)) / 4)
    assert np.std(measured) < 2 * np.mean(errors)


def test_female_patients_are_harder_by_the_planted_gap() -> None:
    spec = {"n_patients": 500, "images_per_patient": 1, "size": 32, "auc": 0.9, "subgroup_gap": 0.15}
    measured = {"F": [], "M": []}
    for seed in range(5):
        phantoms = generate(PhantomSpec(**spec, seed=seed))
        for sex, aucs in measured.items():
            rows = phantoms.cohort.frame["sex"] == sex
            aucs.append(roc_auc_score(labels(phantoms)[rows], phantoms.cohort.frame["truth_score"][rows]))
    for sex, planted in phantoms.spec.subgroup_auc.items():
        assert abs(np.mean(measured[sex]) - planted) < 3 * standard_error(planted, 125, 125) / np.sqrt(5)
    assert phantoms.spec.subgroup_auc["M"] - phantoms.spec.subgroup_auc["F"] == pytest.approx(0.15)


@pytest.mark.parametrize(("correlation", "prevalence"), [(0.0, 0.5), (0.6, 0.3), (1.0, 0.4)])
def test_site_is_correlated_with_the_label_as_planted(correlation: float, prevalence: float) -> None:
    phis = []
    for seed in range(4):
        phantoms = generate(
            PhantomSpec(
                n_patients=400,
                images_per_patient=1,
                size=32,
                prevalence=prevalence,
                site_shortcut=correlation,
                seed=seed,
            )
        )
        phis.append(np.corrcoef(labels(phantoms), phantoms.cohort.frame["site"] == "site_b")[0, 1])
    # the standard error of a correlation is at most 1 / sqrt(n), and 0 where it is 1
    assert abs(np.mean(phis) - correlation) <= 3 * np.sqrt(1 - correlation**2) / np.sqrt(4 * 400) + 1e-12


def test_the_site_is_seen_in_the_corner_and_only_there() -> None:
    phantoms = generate(PhantomSpec(n_patients=60, size=64, site_shortcut=1.0))
    corner = phantoms.images[:, :14, -14:].reshape(len(phantoms.images), -1).max(axis=1) > 220
    np.testing.assert_array_equal(corner, phantoms.cohort.frame["site"] == "site_a")
    # the same patients in the other hospital differ in the two upper corners alone
    other = generate(PhantomSpec(n_patients=60, size=64, site_shortcut=0.0))
    moved = (phantoms.cohort.frame["site"] != other.cohort.frame["site"]).to_numpy()
    rows, columns = np.nonzero((phantoms.images != other.images)[moved].any(axis=0))
    assert moved.sum() > 10
    assert rows.max() < 20
    assert (np.abs(columns - 31.5) > 18).all()


@pytest.mark.parametrize("modality", MODALITIES)
def test_boxes_hold_the_whole_lesion_and_little_else(modality: str) -> None:
    spec = PhantomSpec(modality=modality, n_patients=30, size=96, auc=0.95, seed=3)
    phantoms, healthy = generate(spec), generate(spec, lesions=False)
    pd.testing.assert_frame_equal(phantoms.cohort.frame, healthy.cohort.frame)
    change = np.abs(phantoms.images.astype(int) - healthy.images)
    for i, (x, y, w, h) in enumerate(phantoms.opacity_boxes):
        rows, columns = np.nonzero(change[i])
        if len(rows):
            # pixel r covers [r, r + 1)
            assert x - 1 < columns.min() <= columns.max() < x + w
            assert y - 1 < rows.min() <= rows.max() < y + h
        if phantoms.cohort.frame["truth_score"][i] > 1:
            assert change[i].max() > 25
            assert columns.max() - columns.min() > 0.5 * w
    boxes = phantoms.cohort.frame[["bbox_x", "bbox_y", "bbox_width", "bbox_height"]]
    sick = labels(phantoms) == 1
    np.testing.assert_array_equal(boxes.notna().all(axis=1), sick)
    np.testing.assert_array_equal(boxes[sick].to_numpy(dtype=float), phantoms.opacity_boxes[sick])
    assert (phantoms.opacity_boxes[:, :2] >= 0).all()
    assert (phantoms.opacity_boxes[:, :2] + phantoms.opacity_boxes[:, 2:] <= 96).all()


@pytest.mark.parametrize("modality", MODALITIES)
def test_an_observer_of_pixels_sees_much_but_not_more_than_was_planted(modality: str) -> None:
    spec = PhantomSpec(modality=modality, n_patients=500, images_per_patient=1, size=64, auc=0.88, seed=8)
    phantoms = generate(spec)
    y = labels(phantoms)
    ideal = roc_auc_score(y, phantoms.cohort.frame["truth_score"])
    seen = roc_auc_score(y, told_where(phantoms))
    error = standard_error(spec.auc, 250, 250)
    assert 0.7 < seen < ideal + 2 * error  # two AUCs of the same images differ by less noise than one has
    # told what the healthy image would be, an observer misses next to nothing
    opacity = phantoms.images.astype(float) - generate(spec, lesions=False).images
    informed = roc_auc_score(y, opacity.sum(axis=(1, 2)) / phantoms.opacity_boxes[:, 2:].prod(axis=1))
    assert seen < informed < ideal + 2 * error
    assert informed > ideal - 0.05


def test_without_planted_evidence_nothing_is_seen() -> None:
    phantoms = generate(PhantomSpec(n_patients=400, images_per_patient=1, size=64, auc=0.5, seed=2))
    seen = roc_auc_score(labels(phantoms), told_where(phantoms))
    assert abs(seen - 0.5) < 3 * standard_error(0.5, 200, 200)


def test_the_label_reaches_the_pixels_through_the_evidence_only() -> None:
    """With AUC 0.5 the evidence does not depend on the label, so another label leaves the image as it is."""
    few, many = (
        generate(PhantomSpec(n_patients=60, size=32, auc=0.5, prevalence=p, seed=4)) for p in (0.3, 0.7)
    )
    changed = (labels(few) != labels(many)) & (
        few.cohort.frame["site"] == many.cohort.frame["site"]
    ).to_numpy()
    assert changed.sum() > 10
    np.testing.assert_array_equal(few.images[changed], many.images[changed])


def test_near_duplicates_are_the_nearest_images_and_belong_to_two_patients() -> None:
    phantoms = generate(PhantomSpec(n_patients=80, size=128, n_near_duplicates=7, seed=6))
    frame = phantoms.cohort.frame
    copies = frame.index[frame["duplicate_of"].notna()]
    assert len(copies) == 7
    pixels = phantoms.images.reshape(len(frame), -1)
    likeness = np.corrcoef(pixels)
    for copy in copies:
        source = frame.index[frame["image_id"] == frame.at[copy, "duplicate_of"]][0]
        assert frame.at[copy, "patient_id"] != frame.at[source, "patient_id"]
        same = ["label_pneumonia", "sex", "site", "view", "truth_score"]
        assert list(frame.loc[copy, same]) == list(frame.loc[source, same])
        assert not np.array_equal(pixels[copy], pixels[source])
        # correlation does not mind the change of brightness
        assert list(np.argsort(-likeness[copy])[:2]) == [copy, source]
        offset = phantoms.opacity_boxes[copy] - phantoms.opacity_boxes[source]
        assert np.abs(offset).max() <= 1


def test_the_duplicates_box_moves_with_the_image() -> None:
    spec = PhantomSpec(n_patients=40, images_per_patient=1, size=96, auc=0.97, n_near_duplicates=8, seed=1)
    phantoms, healthy = generate(spec), generate(spec, lesions=False)
    copies = phantoms.cohort.frame.index[
        phantoms.cohort.frame["duplicate_of"].notna() & (phantoms.cohort.frame["truth_score"] > 0.5)
    ]
    assert len(copies) >= 2
    for copy in copies:
        change = np.abs(phantoms.images[copy].astype(int) - healthy.images[copy])
        x, y, w, h = phantoms.opacity_boxes[copy]
        rows, columns = np.nonzero(change)
        assert x - 1 < columns.min() <= columns.max() < x + w
        assert y - 1 < rows.min() <= rows.max() < y + h


def test_too_many_duplicates_are_refused() -> None:
    with pytest.raises(InputError, match="100 near duplicates wanted, but only"):
        generate(PhantomSpec(n_patients=10, size=32, n_near_duplicates=100))


@pytest.mark.parametrize("modality", MODALITIES)
def test_an_image_does_not_depend_on_the_others(modality: str) -> None:
    few = generate(PhantomSpec(modality=modality, n_patients=5, size=48, seed=9, images_per_patient=2))
    many = generate(PhantomSpec(modality=modality, n_patients=23, size=48, seed=9, images_per_patient=2))
    n = len(few.cohort.frame)
    np.testing.assert_array_equal(few.images, many.images[:n])
    pd.testing.assert_frame_equal(few.cohort.frame, many.cohort.frame[:n])
    other = generate(PhantomSpec(modality=modality, n_patients=5, size=48, seed=10, images_per_patient=2))
    assert not np.array_equal(other.images[0], few.images[0])


def test_another_size_shows_the_same_patients() -> None:
    small = generate(PhantomSpec(n_patients=8, size=64))
    large = generate(PhantomSpec(n_patients=8, size=128))
    columns = ["image_id", "age_years", "sex", "site", "truth_score"]
    pd.testing.assert_frame_equal(small.cohort.frame[columns], large.cohort.frame[columns])
    np.testing.assert_allclose(small.opacity_boxes * 2, large.opacity_boxes)
    halved = large.images.reshape(len(large.images), 64, 2, 64, 2).mean(axis=(2, 4))
    centre = (slice(None), slice(16, 64), slice(None))  # below the markers, whose letters are of whole pixels
    assert np.corrcoef(halved[centre].ravel(), small.images[centre].ravel())[0, 1] > 0.98


def test_patients_have_several_images_one_label_and_plausible_facts() -> None:
    frame = generate(PhantomSpec(n_patients=300, images_per_patient=2, size=32, seed=5)).cohort.frame
    per_patient = frame.groupby("patient_id")
    assert len(frame) / 300 == pytest.approx(2, abs=3 / np.sqrt(300))
    assert per_patient.size().max() > 3
    for constant in ("label_pneumonia", "sex", "site", "age_years"):
        assert (per_patient[constant].nunique(dropna=False) == 1).all()
    assert per_patient["truth_score"].std().dropna().min() > 0
    assert frame["image_id"].is_unique
    assert set(frame["view"]) == {"AP", "PA"}
    patients = per_patient.first()
    assert patients["age_years"].isna().sum() in range(1, 25)
    assert patients["age_years"].between(5, 95).sum() + patients["age_years"].isna().sum() == 300
    for sex in ("F", "M"):
        # the low-discrepancy sequence balances labels within each sex far below chance variation
        assert (patients.loc[patients["sex"] == sex, "label_pneumonia"]).mean() == pytest.approx(
            0.5, abs=0.03
        )


def test_age_view_and_sex_do_not_tell_the_label() -> None:
    frame = generate(PhantomSpec(n_patients=900, images_per_patient=1, size=32, seed=7)).cohort.frame
    y = frame["label_pneumonia"].to_numpy(dtype=int)
    known = frame["age_years"].notna().to_numpy()
    facts = {
        "age": np.corrcoef(frame["age_years"][known].to_numpy(dtype=float), y[known])[0, 1],
        "view": np.corrcoef(frame["view"] == "AP", y)[0, 1],
        "sex": np.corrcoef(frame["sex"] == "F", y)[0, 1],
    }
    assert max(map(abs, facts.values())) < 3 / np.sqrt(900)


def test_bedside_images_are_noisier() -> None:
    phantoms = generate(PhantomSpec(n_patients=80, size=64, seed=3))
    # differences of neighbours below the diaphragm, where nothing else has an edge
    grain = np.diff(phantoms.images[:, 52:, 16:48].astype(float), axis=2).std(axis=(1, 2))
    ap = (phantoms.cohort.frame["view"] == "AP").to_numpy()
    assert roc_auc_score(ap, grain) > 0.9


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"modality": "x-ray"}, "unknown phantom modality 'x-ray' .did you mean 'xray'"),
        ({"n_patients": 0}, "phantom n_patients is 0 .it must be at least 1"),
        ({"images_per_patient": 0.5}, "images_per_patient"),
        ({"size": 16}, "size is 16"),
        ({"task": "Two words"}, "phantom task is Two words"),
        ({"prevalence": 1.0}, "prevalence"),
        ({"auc": 1.0}, "auc"),
        ({"auc": 0.4}, "auc"),
        ({"auc": 0.6, "subgroup_gap": 0.2}, "subgroup_gap"),
        ({"site_shortcut": 1.5}, "site_shortcut"),
        ({"n_near_duplicates": -1}, "n_near_duplicates"),
        ({"seed": -1}, "seed"),
        ({"patients": 10}, "unknown phantom parameter 'patients' .did you mean 'n_patients'"),
    ],
)
def test_wrong_specs_are_refused_with_what_to_do(wrong: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        PhantomSpec.from_dict(wrong)


def test_specs_go_through_dictionaries() -> None:
    spec = PhantomSpec(modality="mri", auc=0.7, seed=3)
    assert PhantomSpec.from_dict(spec.to_dict()) == spec
    assert (spec.task, spec.dataset) == ("tumour", "phantom_mri")


def test_the_same_lesion_under_another_name() -> None:
    plain, named = (generate(PhantomSpec(n_patients=6, size=32, task=task)) for task in ("", "bacterial"))
    np.testing.assert_array_equal(plain.images, named.images)
    assert named.cohort.tasks == ("bacterial",)
    assert named.cohort.labels("bacterial").tolist() == plain.cohort.labels("pneumonia").tolist()


def test_slices_of_ct_alone_have_a_place_and_it_tells_nothing() -> None:
    frame = generate(PhantomSpec(modality="ct", n_patients=300, size=32)).cohort.frame
    assert frame["slice_fraction"].between(0, 1).all()
    distance = (frame["slice_fraction"] - 0.5).abs().to_numpy(dtype=float)
    sick = frame["label_haemorrhage"].to_numpy(dtype=int)
    assert abs(roc_auc_score(sick, distance) - 0.5) < 0.08
    assert "slice_fraction" not in generate(PhantomSpec(n_patients=2, size=32)).cohort.frame


def test_random_fields_keep_unit_variance() -> None:
    grid = np.random.default_rng(0).standard_normal((4000, 10, 10))
    basis = _spline_basis(48, 10)
    field = basis @ grid @ basis.T
    np.testing.assert_allclose(field.std(axis=0), 1, atol=5 / np.sqrt(2 * 4000))
