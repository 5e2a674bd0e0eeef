"""The study's other datasets: known truths of the real files, and the layouts of their archives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from radtransfer.data.cohort import Cohort, select
from radtransfer.data.formats import brain_tumor_mri, kermany, load_format, phe_sich, read_cohort
from radtransfer.data.images import standardise
from radtransfer.data.manifest import entries_of, load_manifest
from radtransfer.errors import DataError, RadtransferError


def draw(path: Path, size: tuple[int, int] = (4, 4), value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).save(path)


def counts(cohort: Cohort, task: str) -> dict[str, int]:
    kept, _ = select(cohort, task=task)
    names = kept.classes_of(task)
    return {names[label]: n for label, n in kept.labels(task).value_counts().items()}


def excluded(cohort: Cohort, task: str) -> dict[str, int]:
    return {step.reason: step.n_images for step in select(cohort, task=task)[1].steps if step.n_images}


def same_groups(one: pd.Series[Any], other: pd.Series[Any]) -> bool:
    """Whether two columns part the same rows in the same way."""
    pairs = pd.DataFrame({"one": one.to_numpy(), "other": other.to_numpy()}).drop_duplicates()
    return pairs["one"].is_unique and pairs["other"].is_unique


# --- the real files ---


@pytest.fixture(scope="module")
def real(shared_data: Path) -> dict[str, Cohort]:
    manifest = load_manifest()
    names = ("kermany_pneumonia_224", "phe_sich", "brain_tumor_mri")
    return {name: read_cohort(manifest.dataset(name), shared_data / name) for name in names}


@pytest.mark.shared
@pytest.mark.parametrize(
    "name", ["kermany_pneumonia_224", "phe_sich", "phe_sich_originals", "brain_tumor_mri"]
)
def test_the_checksum_lists_are_those_of_the_mirror(shared_data: Path, name: str) -> None:
    sums = (line.split("  ", 1) for line in (shared_data / name / "SHA256SUMS").read_text().splitlines())
    told = {path: sha256 for sha256, path in sums}
    listed = {file.path: file.sha256 for file in load_manifest().dataset(name).files.entries()}
    assert listed == told


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "column"), [("kermany_pneumonia_224", "sha256_orig"), ("brain_tumor_mri", "sha256")]
)
def test_the_public_copy_has_the_same_bytes_under_its_own_names(
    shared_data: Path, name: str, column: str
) -> None:
    table = pd.read_csv(shared_data / name / "metadata.csv", dtype=str)
    public = load_manifest().dataset(name).sources[1].files
    assert public is not None
    assert {file.path: file.sha256 for file in entries_of(public)} == dict(
        zip(table["source_file"], table[column], strict=True)
    )


@pytest.mark.shared
def test_kermany_is_as_its_readme_says(real: dict[str, Cohort], shared_data: Path) -> None:
    cohort, frame = real["kermany_pneumonia_224"], real["kermany_pneumonia_224"].frame
    assert (cohort.n_images, cohort.n_patients) == (5856, 3118)
    assert counts(cohort, "bacterial") == {"bacterial": 2780, "viral": 1493}
    assert excluded(cohort, "bacterial") == {"no pneumonia": 1583}
    assert counts(cohort, "pneumonia") == {"pneumonia": 4273, "normal": 1583}
    assert len(cohort.patients_in_both_classes("bacterial")) == 979
    assert (frame.groupby("patient_id")["official_split"].nunique() > 1).sum() == 170
    assert frame["official_split"].value_counts().to_dict() == {"train": 5216, "test": 624, "validation": 16}
    assert frame["dup_group"].notna().sum() - frame["dup_group"].nunique() == 32
    assert frame["age_years"].isna().all()


@pytest.mark.shared
def test_kermany_names_and_bytes_say_what_the_table_says(real: dict[str, Cohort], shared_data: Path) -> None:
    table = pd.read_csv(shared_data / "kermany_pneumonia_224" / "metadata.csv", dtype=str)
    table.index = pd.Index(table["image"].str.removesuffix(".jpeg"))
    frame = real["kermany_pneumonia_224"].frame
    table = table.loc[frame["image_id"]]
    assert frame["patient_id"].tolist() == table["patient_id"].tolist()
    assert frame["cause"].tolist() == table["label3"].tolist()
    assert frame["dup_group"].notna().tolist() == table["dup_group"].notna().tolist()
    copies = frame["dup_group"].notna().to_numpy()
    assert same_groups(frame["dup_group"][copies], table["dup_group"][copies])


@pytest.mark.shared
def test_phe_sich_is_as_its_readme_says(real: dict[str, Cohort], shared_data: Path) -> None:
    cohort, frame = real["phe_sich"], real["phe_sich"].frame
    assert (cohort.n_images, cohort.n_patients) == (3511, 120)
    assert counts(cohort, "haemorrhage") == {"haemorrhage": 725, "no haemorrhage": 723}
    assert excluded(cohort, "haemorrhage") == {"more than 3 slices from a lesion": 2063}
    assert counts(cohort, "haemorrhage_all") == {"haemorrhage_all": 725, "no haemorrhage_all": 2786}
    assert cohort.patients_in_both_classes("haemorrhage_all") == tuple(sorted(set(frame["patient_id"])))
    assert (frame["nonblack_frac"] < 0.02).sum() == 72
    assert frame["mask_bbox_disagree"].sum() == 45
    assert frame["mask"].notna().sum() == 676
    assert frame.groupby("patient_id").size().agg(["min", "max"]).tolist() == [24, 69]


@pytest.mark.shared
def test_phe_sich_places_and_distances_are_the_tables(real: dict[str, Cohort], shared_data: Path) -> None:
    table = pd.read_csv(shared_data / "phe_sich" / "metadata.csv", dtype={"patient_id": str})
    table.index = pd.Index(table["image"].str[len("images/phe_") : -len(".png")])
    frame = real["phe_sich"].frame
    table = table.loc[frame["image_id"]]
    assert frame["slices_to_nearest_lesion"].tolist() == table["slices_to_nearest_lesion"].tolist()
    np.testing.assert_allclose(
        frame["slice_fraction"].to_numpy(float), table["slice_frac"].to_numpy(), atol=5e-5
    )
    boxed = frame[frame["label_haemorrhage"] == 1]
    right = (boxed["bbox_x"] + boxed["bbox_width"]).to_numpy(float)
    np.testing.assert_array_equal(right, table["bbox_xmax"].dropna().to_numpy())


@pytest.mark.shared
def test_position_alone_tells_haemorrhage_as_well_as_the_readme_says(real: dict[str, Cohort]) -> None:
    from sklearn.metrics import roc_auc_score

    def auc(task: str) -> float:
        frame = select(real["phe_sich"], task=task)[0].frame
        # four digits, as the README's: slices as far before the middle as behind it are ties
        central = -np.abs(frame["slice_fraction"].to_numpy(float).round(4) - 0.5)
        return float(roc_auc_score(frame["label_haemorrhage"].to_numpy(int), central))

    assert round(auc("haemorrhage_all"), 3) == 0.947
    assert round(auc("haemorrhage"), 3) == 0.840


@pytest.mark.shared
def test_eight_originals_give_the_pixels_of_the_copies(real: dict[str, Cohort], shared_data: Path) -> None:
    originals = phe_sich.read_cohort(shared_data / "phe_sich_originals")
    assert originals.n_images == originals.n_patients == 8
    assert originals.labels("haemorrhage").isna().all()
    copies = real["phe_sich"].frame.set_index("image_id")
    for row in originals.frame.to_dict("records"):
        copy = phe_sich.read_image(shared_data / "phe_sich", copies.loc[row["image_id"]].to_dict())
        original = phe_sich.read_image(shared_data / "phe_sich_originals", row)
        np.testing.assert_array_equal(standardise(original, 256), copy)


@pytest.mark.shared
def test_masks_outline_what_the_table_counts(real: dict[str, Cohort], shared_data: Path) -> None:
    table = pd.read_csv(shared_data / "phe_sich" / "metadata.csv", dtype={"patient_id": str})
    area = table.set_index(table["mask"])["oedema_mask_area_px512"]
    outlined = real["phe_sich"].frame.dropna(subset="mask")
    for row in outlined.sample(20, random_state=1).to_dict("records"):
        mask = phe_sich.read_mask(shared_data / "phe_sich", row)
        # a quarter of the pixels of 512 x 512, give or take the outline
        assert 4 * mask.sum() == pytest.approx(area[row["mask"]], rel=0.3, abs=60)
    empty = real["phe_sich"].frame[real["phe_sich"].frame["mask"].isna()].iloc[0].to_dict()
    assert not phe_sich.read_mask(shared_data / "phe_sich", empty).any()


@pytest.mark.shared
def test_brain_tumour_mri_is_as_its_readme_says(real: dict[str, Cohort]) -> None:
    cohort, frame = real["brain_tumor_mri"], real["brain_tumor_mri"].frame
    assert cohort.n_images == 7019
    assert counts(cohort, "tumour") == {"glioma": 1621, "meningioma": 1645, "pituitary": 1757}
    assert excluded(cohort, "tumour") == {"no tumour": 1996}
    assert counts(cohort, "tumour4") == counts(cohort, "tumour") | {"no_tumour": 1996}
    test = frame["official_split"] == "test"
    assert test.sum() == 1311
    in_training = frame.loc[~test, "dup_group"].dropna()
    assert frame.loc[test, "dup_group"].isin(in_training).sum() == 216
    shared_group = frame["group_id"].isin(frame.loc[~test, "group_id"])
    assert (test & ~shared_group & (frame["label_tumour4"] == 3)).sum() == 11
    assert (frame.groupby("dup_group")["group_id"].nunique() == 1).all()


@pytest.mark.shared
@pytest.mark.parametrize("name", ["kermany_pneumonia_224", "brain_tumor_mri"])
def test_the_public_copy_is_the_same_cohort(
    real: dict[str, Cohort], shared_data: Path, tmp_path: Path, name: str
) -> None:
    """Names and folders of the public copy, without the table."""
    table = pd.read_csv(shared_data / name / "metadata.csv", dtype=str).iloc[::8]
    images = shared_data / name / ("images" if name.startswith("kermany") else ".")
    for source, image in zip(table["source_file"], table["image"], strict=True):
        (tmp_path / source).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / source).symlink_to(images / image)
    entry = load_manifest().dataset(name)
    public = read_cohort(entry, tmp_path).frame
    known = ["image_id", "dataset", "modality"]
    known += [column for column in public if column.startswith(("label_", "exclusion_"))]
    if name.startswith("kermany"):
        known += ["patient_id", "cause"]
        assert public["official_split"].isna().all()
    else:
        known += ["official_split"]
        assert public["near_dup_group"].isna().all()
    whole = real[name].frame
    expected = whole.loc[whole["image_id"].isin(public["image_id"]), known].reset_index(drop=True)
    assert len(expected) == len(table)
    pd.testing.assert_frame_equal(public[known], expected)


# --- layouts of the archives, on files made here ---


def test_kermany_archive(tmp_path: Path) -> None:
    top = tmp_path / "chest_xray"
    draw(top / "train/PNEUMONIA/person7_bacteria_24.jpeg", value=1)
    draw(top / "val/PNEUMONIA/person7_virus_9.jpeg", value=200)
    draw(top / "test/NORMAL/IM-0001-0001.jpeg", (6, 4))
    draw(top / "test/NORMAL/NORMAL2-IM-0002-0001-0002.jpeg", (6, 4))
    (tmp_path / "__MACOSX/chest_xray").mkdir(parents=True)
    (tmp_path / "__MACOSX/chest_xray/._person7_virus_9.jpeg").write_bytes(b"junk")
    (top / "train/PNEUMONIA/.DS_Store").write_bytes(b"junk")
    frame = kermany.read_cohort(tmp_path).frame.set_index("image_id")
    assert frame["patient_id"].to_dict() == {
        "IM-0001-0001": "IM-0001",
        "NORMAL2-IM-0002-0001-0002": "NORMAL2-IM-0002",
        "person7_bacteria_24": "person7",
        "person7_virus_9": "person7",
    }
    assert frame["official_split"].tolist() == ["test", "test", "train", "validation"]
    assert frame["label_bacterial"].fillna(-1).tolist() == [-1, -1, 1, 0]
    assert frame["label_pneumonia"].tolist() == [0, 0, 1, 1]
    # two files of the same bytes under different patients are one group
    assert frame["group_id"].tolist() == ["IM-0001-0001", "IM-0001-0001", "person7", "person7"]


def test_kermany_third_version(tmp_path: Path) -> None:
    draw(tmp_path / "train/PNEUMONIA/BACTERIA-1008087-0001.jpeg")
    draw(tmp_path / "train/NORMAL/NORMAL-28501-0002.jpeg", value=9)
    frame = kermany.read_cohort(tmp_path).frame
    assert frame["patient_id"].tolist() == ["1008087", "28501"]
    assert frame["cause"].tolist() == ["bacteria", "normal"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("train/PNEUMONIA/scan1.jpeg", r"scan1\.jpeg tells neither patient nor cause"),
        ("train/NORMAL/person1_virus_2.jpeg", "contradicts itself: by its name the cause is virus"),
    ],
)
def test_kermany_names_are_never_guessed(tmp_path: Path, path: str, message: str) -> None:
    draw(tmp_path / path)
    with pytest.raises(DataError, match=message):
        kermany.read_cohort(tmp_path)


def test_kermany_twice_unpacked(tmp_path: Path) -> None:
    for folder in ("chest_xray", "chest_xray/chest_xray"):
        draw(tmp_path / folder / "train/NORMAL/IM-0001-0001.jpeg")
    with pytest.raises(DataError, match="two images are called IM-0001-0001"):
        kermany.read_cohort(tmp_path)


def annotate(root: Path, name: str, *boxes: tuple[int, int, int, int]) -> None:
    objects = "".join(
        f"<object><name>a</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax>"
        "</bndbox></object>"
        for a, b, c, d in boxes
    )
    path = root / "merged_annotation" / f"{name}.xml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"<?xml version='1.0'?><annotation><filename>{name}.jpg</filename>{objects}</annotation>")


def test_phe_sich_with_its_annotations(tmp_path: Path) -> None:
    for number in (*range(6), 9):
        draw(
            tmp_path / f"seg_dataset/images/{'val' if number % 2 else 'train'}/0004_{number:02d}.png",
            (512, 512),
        )
        annotate(
            tmp_path, f"0004_{number:02d}", *([(10, 20, 30, 60), (5, 30, 20, 40)] if number == 1 else [])
        )
    draw(tmp_path / "seg_dataset/images/train/0005_00.png", (512, 512))
    pixels = np.zeros((512, 512), dtype=np.uint8)
    pixels[100:200, 60:80] = 255
    (tmp_path / "seg_dataset/masks/val").mkdir(parents=True)
    Image.fromarray(pixels).save(tmp_path / "seg_dataset/masks/val/0004_01.png")
    frame = phe_sich.read_cohort(tmp_path).frame
    one = frame[frame["patient_id"] == "0004"]
    assert one["label_haemorrhage"].tolist() == [0, 1, 0, 0, 0, 0, 0]
    assert one["slices_to_nearest_lesion"].tolist() == [1, 0, 1, 2, 3, 4, 8]
    assert one["exclusion_haemorrhage"].notna().tolist() == [False] * 5 + [True] * 2
    np.testing.assert_allclose(one["slice_fraction"].to_numpy(float), np.arange(7) / 6)
    box = one.loc[one["label_haemorrhage"] == 1, ["bbox_x", "bbox_y", "bbox_width", "bbox_height"]]
    assert box.to_numpy().tolist() == [[5, 20, 25, 40]]
    row = one.iloc[1].to_dict()
    mask = phe_sich.read_mask(tmp_path, row)
    assert (mask.shape, mask.sum()) == ((256, 256), 50 * 10)
    assert phe_sich.read_image(tmp_path, row).shape == (256, 256)
    # a slice that nobody annotated is not a slice without lesion
    other = frame[frame["patient_id"] == "0005"].iloc[0]
    assert pd.isna(other["label_haemorrhage"])
    assert pd.isna(other["slice_fraction"])


def test_phe_sich_that_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has neither metadata\.csv nor images"):
        phe_sich.read_cohort(tmp_path)
    draw(tmp_path / "seg_dataset/images/train/0004_00.png")
    annotate(tmp_path, "0004_00")
    path = tmp_path / "merged_annotation/0004_00.xml"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"0004_00\.xml is no annotation"):
        phe_sich.read_cohort(tmp_path)


def test_brain_tumour_archive(tmp_path: Path) -> None:
    top = tmp_path / "archive"
    draw(top / "Training/glioma/Tr-gl_0010.jpg", (5, 4))
    draw(top / "Training/notumor/Tr-no_0010.jpg", value=90)
    draw(top / "Testing/pituitary/Te-pi_0010.jpg", value=10)
    draw(top / "Testing/glioma/Te-gl_0011.jpg", (5, 4))
    cohort = brain_tumor_mri.read_cohort(tmp_path)
    frame = cohort.frame.set_index("image_id")
    assert frame["official_split"].to_dict() == {
        "Te-gl_0011": "test",
        "Te-pi_0010": "test",
        "Tr-gl_0010": "train",
        "Tr-no_0010": "train",
    }
    names = cohort.classes_of("tumour4")
    assert [names[label] for label in frame["label_tumour4"]] == [
        "glioma",
        "pituitary",
        "glioma",
        "no_tumour",
    ]
    assert frame["label_tumour"].fillna(-1).tolist() == [0, 2, 0, -1]
    assert frame["group_id"].tolist() == ["Te-gl_0011", "Te-pi_0010", "Te-gl_0011", "Tr-no_0010"]


def test_brain_tumour_in_other_folders(tmp_path: Path) -> None:
    draw(tmp_path / "Training/cyst/a.jpg")
    with pytest.raises(DataError, match=r"Training/cyst/a\.jpg lies in no folder of the archive"):
        brain_tumor_mri.read_cohort(tmp_path)


@pytest.mark.parametrize("name", ["kermany", "phe_sich", "brain_tumor_mri"])
@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("image,image\na,b\n", "two columns 'image'"),
        ("image\na,b\n", "line 2: 2 fields, but the header has 1"),
        ("picture\na\n", "no column 'image'"),
        ("", "no column 'image'"),
        ('image\n"a', "line 2"),
    ],
)
def test_a_broken_table_is_refused_with_its_place(
    tmp_path: Path, name: str, table: str, message: str
) -> None:
    draw(tmp_path / "images/IM-0001-0001.jpeg")
    (tmp_path / "metadata.csv").write_text(table)
    with pytest.raises(RadtransferError, match=message):
        load_format(name).read_cohort(tmp_path)
