"""What is known of the real data, and that originals and reduced copies are the same dataset."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from radtransfer.data.cohort import Cohort
from radtransfer.data.duplicates import find_duplicates
from radtransfer.data.fetch import fetch, verify
from radtransfer.data.formats import chestxray14, nih_pneumonia
from radtransfer.data.images import decode, standardise
from radtransfer.data.store import CuratedDataset, curate

pytestmark = pytest.mark.shared


@pytest.fixture(scope="module")
def mirror(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RADTRANSFER_MIRROR", str(shared_data))
        patch.setenv("RADTRANSFER_WORK", str(tmp_path_factory.mktemp("work")))
        yield shared_data


@pytest.fixture(scope="module")
def cohort(mirror: Path) -> Cohort:
    return nih_pneumonia.read_cohort(fetch("nih_pneumonia_1000"))


@pytest.fixture(scope="module")
def curated(mirror: Path) -> CuratedDataset:
    return curate("nih_pneumonia_1000", task="pneumonia", seed=1)


def test_all_files_are_what_the_manifest_says(mirror: Path) -> None:
    fetch("nih_pneumonia_1000")
    report = verify("nih_pneumonia_1000")
    assert report.ok
    assert report.n_files == 1001


BOTH = """
from radtransfer.data.store import curate
curate("nih_pneumonia_1000", task="pneumonia", image_size=64, seed=1)
"""


def test_two_processes_fetching_and_curating_at_once_end_with_one_copy(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RADTRANSFER_MIRROR", str(shared_data))
    monkeypatch.setenv("RADTRANSFER_WORK", str(tmp_path))
    both = [subprocess.Popen([sys.executable, "-c", BOTH]) for _ in range(2)]
    assert [process.wait(timeout=300) for process in both] == [0, 0]
    assert verify("nih_pneumonia_1000").ok
    assert [path.name for path in (tmp_path / "raw").iterdir() if path.is_dir() and path.name[0] != "."] == [
        "nih_pneumonia_1000"
    ]
    (folder,) = (path for path in (tmp_path / "curated").iterdir() if path.name != ".locks")
    assert CuratedDataset.open(folder).images.shape == (897, 64, 64)


def test_known_counts(cohort: Cohort) -> None:
    assert (cohort.n_images, cohort.n_patients) == (1000, 682)
    assert cohort.labels("pneumonia").value_counts().to_dict() == {0: 500, 1: 500}
    assert len(cohort.patients_in_both_classes("pneumonia")) == 21
    ages = cohort.frame["age_years"]
    assert (ages.min(), ages.max()) == (4, 85)
    assert cohort.frame["view"].value_counts().to_dict() == {"AP": 567, "PA": 433}


def test_one_pair_of_images_is_the_same_exposure(cohort: Cohort, mirror: Path) -> None:
    root = fetch("nih_pneumonia_1000")
    images = np.stack([nih_pneumonia.read_image(root, {"path": path}) for path in cohort.frame["path"]])
    (pair,) = find_duplicates(images).pairs
    np.testing.assert_array_equal(images[pair[0]], images[pair[1]])
    assert cohort.frame["image_id"].iloc[pair].tolist() == ["00002658_001", "00002658_002"]


def test_adults_are_kept(curated: CuratedDataset) -> None:
    reasons = {step.reason: step.n_images for step in curated.flow.steps if step.n_images}
    assert reasons == {"age below 18 years": 95, "age above 80 years": 8}
    assert curated.images.shape == (897, 256, 256)


def test_no_image_breaks_a_rule_of_quality(curated: CuratedDataset) -> None:
    assert curated.excluded.empty
    assert curated.excluded_thumbnails.shape == (0, 64, 64)
    assert curated.cohort.frame["quality_warning"].isna().all()


def test_twelve_originals_give_the_pixels_of_the_copies(mirror: Path) -> None:
    root = fetch("chestxray14_sample")
    originals = chestxray14.read_cohort(root)
    assert originals.n_images == originals.n_patients == 12
    copies = mirror / "nih_pneumonia_1000" / "images"
    for row in originals.frame.to_dict("records"):
        original = chestxray14.read_image(root, row)
        assert original.shape == (1024, 1024)
        np.testing.assert_array_equal(standardise(original, 256), decode(copies / f"{row['image_id']}.png"))


@pytest.mark.parametrize("size", [256, 128])
def test_originals_and_copies_are_the_same_dataset(
    mirror: Path, cohort: Cohort, tmp_path: Path, size: int
) -> None:
    """The upstream source: originals in ``images`` beside the NIH's table."""
    official = fetch("chestxray14_sample")
    (tmp_path / "images").symlink_to(official / "images_001" / "images")
    (tmp_path / chestxray14.TABLE).with_suffix(".csv.gz").symlink_to(official / f"{chestxray14.TABLE}.gz")
    originals = nih_pneumonia.read_cohort(tmp_path)
    copies = cohort.keep(cohort.frame["image_id"].isin(originals.frame["image_id"]))
    pd.testing.assert_frame_equal(originals.frame, copies.frame)
    root = fetch("nih_pneumonia_1000")
    for row in originals.frame.to_dict("records"):
        one, other = (nih_pneumonia.read_image(folder, row) for folder in (tmp_path, root))
        np.testing.assert_array_equal(standardise(one, size), standardise(other, size))


def test_the_official_table_of_112120_rows_is_read(mirror: Path) -> None:
    table = chestxray14.read_table(fetch("chestxray14_sample"))
    names = {name: name for name in table["Image Index"]}
    whole = chestxray14.cohort_of(table, names, dataset="chestxray14")
    assert (whole.n_images, whole.n_patients) == (112_120, 30_805)
    assert int(whole.labels("pneumonia").sum()) == 1431
