"""Nodules stand where the tables say, whatever the axes of the scan."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from volume_files import write_sphere

from radtransfer.data.formats import luna16
from radtransfer.data.images import DecodeError
from radtransfer.data.volumes import Grid, read_grid
from radtransfer.errors import DataError, InputError

SERIES = "1.3.6.1.4.1.14519.5.2.1.6279.6001.1"
NODULE = (-31.3, 12.7, -205.4)
WINDOW = (-500.0, 1000.0)
FLIPPED = (-1, 0, 0, 0, -1, 0, 0, 0, 1)
UPSIDE_DOWN = (1, 0, 0, 0, 1, 0, 0, 0, -1)
OBLIQUE = (0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1)


def scan(root: Path, series: str = SERIES, subset: int = 0, **geometry: object) -> Path:
    path = root / f"subset{subset}" / f"{series}.mhd"
    options: dict[str, object] = {"spacing": (1, 1, 1), "origin": (-51, -7, -220), **geometry}
    write_sphere(path, center=NODULE, radius=5, **options)  # type: ignore[arg-type]
    return path


def write_tables(root: Path, candidates: str = "candidates_V2.csv") -> None:
    x, y, z = NODULE
    header = "seriesuid,coordX,coordY,coordZ"
    (root / luna16.ANNOTATIONS).write_text(
        f"{header},diameter_mm\n{SERIES},{x},{y},{z},10.0\nelsewhere,0,0,0,4.5\n"
    )
    rows = [f"{SERIES},{x},{y},{z},1", f"{SERIES},{x + 6},{y - 4},{z + 1},0"]
    rows += [f"{SERIES},{-50 + i},{-5 + 2 * i},{-194},0" for i in range(9)]
    (root / candidates).write_text(f"{header},class\n" + "\n".join(rows) + "\n")


def centroid(patch: np.ndarray) -> np.ndarray:
    """Centre of the bright pixels from the middle of the patch, pixels: (down, right)."""
    weights = patch.astype(float)
    middle = (np.array(patch.shape) - 1) / 2
    grid = np.indices(patch.shape)
    return (grid * weights).sum(axis=(1, 2)) / weights.sum() - middle


@pytest.mark.parametrize(
    "geometry",
    [
        {},
        {"spacing": (0.7, 0.7, 2.5), "size": (60, 60, 12)},
        {"direction": FLIPPED, "origin": (-12, 32, -220)},
        {"direction": UPSIDE_DOWN, "origin": (-51, -7, -191)},
        {"direction": OBLIQUE, "origin": (-35, -23, -220), "size": (50, 50, 30)},
    ],
    ids=["plain", "anisotropic", "flipped", "upside_down", "oblique"],
)
def test_a_nodule_is_in_the_middle_of_its_patch(tmp_path: Path, geometry: dict[str, object]) -> None:
    path = scan(tmp_path, **geometry)
    patch = luna16.axial_patch(path, NODULE, side_mm=24, pixels=96, window=WINDOW)
    assert patch.shape == (96, 96)
    assert patch.dtype == np.uint8
    # a quarter of a millimetre is a pixel; the ball is drawn in voxels of up to 2.5 mm
    np.testing.assert_allclose(centroid(patch), 0, atol=1.5)
    # area of a disc of radius 5 mm in pixels of 0.25 mm
    assert np.mean(patch / 255) * 96**2 == pytest.approx(np.pi * 20**2, rel=0.12)


def test_the_patch_is_upright_whatever_way_the_scan_is_stored(tmp_path: Path) -> None:
    """3 mm to the left and 2 mm to the front of the patient: the ball moves right and down."""
    x, y, z = NODULE
    patches = [
        luna16.axial_patch(scan(tmp_path, **way), (x - 3, y - 2, z), side_mm=24, pixels=96, window=WINDOW)
        for way in ({}, {"direction": FLIPPED, "origin": (-12, 32, -220)})
    ]
    for patch in patches:
        np.testing.assert_allclose(centroid(patch), (2 * 4, 3 * 4), atol=1.5)


def test_outside_of_the_scan_is_air(tmp_path: Path) -> None:
    path = tmp_path / "s.mhd"
    write_sphere(path, center=(0, 0, 0), radius=0, outside=400)
    patch = luna16.axial_patch(path, (0, 20, 15), side_mm=40, pixels=40, window=(0, 2000))
    # the left half lies beyond the first voxel at x = 0
    assert (patch[:, :19] == 0).all()
    assert (patch[2:38, 21:] == round(255 * 0.7)).all()
    with pytest.raises(DecodeError, match="does not reach"):
        luna16.axial_patch(path, (-1, 20, 15), side_mm=40, pixels=40, window=(0, 2000))


@given(
    spacing=st.tuples(*[st.floats(0.3, 5)] * 3),
    origin=st.tuples(*[st.floats(-500, 500)] * 3),
    signs=st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3),
    angle=st.floats(-3, 3),
    voxel=st.tuples(*[st.floats(-5, 50)] * 3),
)
@settings(max_examples=50)
def test_world_and_voxels_are_inverse_and_agree_with_simpleitk(
    spacing: tuple[float, ...],
    origin: tuple[float, ...],
    signs: tuple[float, ...],
    angle: float,
    voxel: tuple[float, ...],
) -> None:
    import SimpleITK as sitk  # noqa: N813

    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    grid = Grid((40, 40, 30), origin, spacing, turn * np.array(signs))
    image = sitk.Image([4, 4, 4], sitk.sitkUInt8)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(grid.direction.ravel().tolist())
    (world,) = grid.to_world([voxel])
    np.testing.assert_allclose(world, image.TransformContinuousIndexToPhysicalPoint(voxel), atol=1e-6)
    np.testing.assert_allclose(grid.to_voxels([world])[0], voxel, atol=1e-6)


def test_cohort(tmp_path: Path) -> None:
    scan(tmp_path)
    write_tables(tmp_path)
    cohort = luna16.read_cohort(tmp_path, {"non_nodules_per_scan": 3, "patch_mm": 16, "patch_pixels": 32})
    frame = cohort.frame
    assert cohort.tasks == ("nodule",)
    assert cohort.labels("nodule").value_counts().to_dict() == {0: 3, 1: 1}
    assert set(frame["patient_id"]) == set(frame["group_id"]) == {SERIES}
    assert set(frame["official_fold"]) == {0}
    assert frame.attrs["rows_without_file"] == 1
    assert luna16.findings(tmp_path) == ("the scans of 1 annotated nodules are not there",)
    nodule = frame[frame["label_nodule"] == 1].iloc[0]
    # z = -205.4 is 14.6 mm above the first slice of 30
    assert nodule["frame"] == 15
    assert nodule["slice_fraction"] == pytest.approx(15 / 29)
    assert nodule["diameter_mm"] == 10
    image = luna16.read_image(tmp_path, nodule.to_dict())
    assert image.shape == (32, 32)
    assert image[16, 16] > image[0, 0]
    # the candidate in whose patch the nodule is, 6 mm from it, is never drawn
    every = luna16.read_cohort(tmp_path, {"non_nodules_per_scan": 99, "patch_mm": 16}).frame
    assert len(every) == 10
    assert not (every["world_x"] == NODULE[0] + 6).any()
    assert set(frame["image_id"]) <= set(every["image_id"])


def test_slices_are_counted_from_the_foot(tmp_path: Path) -> None:
    scan(tmp_path, direction=UPSIDE_DOWN, origin=(-51, -7, -191))
    write_tables(tmp_path, candidates="candidates.csv")
    frame = luna16.read_cohort(tmp_path).frame
    nodule = frame[frame["label_nodule"] == 1].iloc[0]
    assert nodule["frame"] == 14
    assert nodule["slice_fraction"] == pytest.approx(1 - 14 / 29)


def test_a_draw_does_not_depend_on_other_scans(tmp_path: Path) -> None:
    scan(tmp_path)
    write_tables(tmp_path)
    alone = luna16.read_cohort(tmp_path).frame
    scan(tmp_path, series="another", subset=7)
    with (tmp_path / "candidates_V2.csv").open("a") as file:
        file.write("another,-40,0,-210,0\n")
    more = luna16.read_cohort(tmp_path).frame
    assert set(more["official_fold"]) == {0, 7}
    assert set(alone["image_id"]) == set(more.loc[more["patient_id"] == SERIES, "image_id"])


def test_votes(tmp_path: Path) -> None:
    scan(tmp_path)
    write_tables(tmp_path)
    x, y, z = NODULE
    table = "seriesuid,coordX,coordY,coordZ,mal_details\n"
    for votes, label in (("[4, 2, 4, 2]", None), ("[5, 3]", 1), ("[1, 2, 5]", 0)):
        (tmp_path / luna16.VOTES).write_text(f'{table}{SERIES},{x + 1e-9},{y},{z},"{votes}"\n')
        cohort = luna16.read_cohort(tmp_path)
        nodule = cohort.frame[cohort.frame["label_nodule"] == 1].iloc[0]
        assert cohort.tasks == ("nodule", "malignant")
        assert json.loads(nodule["malignancy_votes"]) == json.loads(votes)
        assert nodule["label_malignant"] is pd.NA if label is None else nodule["label_malignant"] == label
        assert cohort.frame.loc[cohort.frame["label_nodule"] == 0, "label_malignant"].isna().all()
    for votes in ("__import__('os')", "[0, 6]", "{}", "[]"):
        (tmp_path / luna16.VOTES).write_text(f'{table}{SERIES},{x},{y},{z},"{votes}"\n')
        with pytest.raises(DataError, match="no list of votes"):
            luna16.read_cohort(tmp_path)
    (tmp_path / luna16.VOTES).write_text(f'{table}{SERIES},{x + 1},{y},{z},"[3]"\n')
    with pytest.raises(DataError, match="line 2: not one nodule"):
        luna16.read_cohort(tmp_path)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("{s},1,2", "line 3"),
        ("{s},one,2,3,4", "line 3: a position"),
        ("{s},nan,2,3,4", "line 3: a position"),
        ("{s},-31.3,12.7,-205.4,4", "listed twice"),
        ("{s},900,2,3,4", "does not reach"),
    ],
)
def test_broken_annotations_are_refused(tmp_path: Path, row: str, told: str) -> None:
    scan(tmp_path)
    write_tables(tmp_path)
    x, y, z = NODULE
    head = f"seriesuid,coordX,coordY,coordZ,diameter_mm\n{SERIES},{x},{y},{z},10.0\n"
    (tmp_path / luna16.ANNOTATIONS).write_text(head + row.format(s=SERIES) + "\n")
    with pytest.raises(DataError, match=told):
        luna16.read_cohort(tmp_path)


def test_unknown_options_and_empty_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="patch_mm"):
        luna16.read_cohort(tmp_path, {"patch_nm": 3})
    with pytest.raises(DataError, match="no scans"):
        luna16.read_cohort(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("ElementDataFile = s.raw", "ElementDataFile = /etc/passwd", "names no file beside it"),
        ("ElementDataFile = s.raw", "ElementDataFile = ../s.raw", "names no file beside it"),
        ("ElementDataFile = s.raw", "ElementDataFile = LIST", "names no file beside it"),
        ("ElementDataFile = s.raw", "ElementDataFile = t.raw", "No such file"),
        ("DimSize = 40 40 30", "DimSize = 40 40 31", "has 96000"),
        ("DimSize = 40 40 30", "DimSize = 40000 40000 30000", "has 96000"),
        ("DimSize = 40 40 30", "DimSize = 40 -40 30", "no volume"),
        ("DimSize = 40 40 30", "DimSize = 40 40", "no volume"),
        ("ElementType = MET_SHORT", "ElementType = MET_OTHER", "unknown MET_OTHER"),
        ("NDims = 3\n", "", "unknown NDims"),
        ("CompressedData = False", "CompressedData = True", "CompressedData = True"),
        ("ElementSpacing = 1 1 1", "ElementSpacing = 1 0 1", "mm|pacing"),
        ("TransformMatrix = 1 0 0", "TransformMatrix = 0 0 0", "span|irection|eterminant"),
    ],
)
def test_damaged_scans_are_refused(tmp_path: Path, old: str, new: str, told: str) -> None:
    path = tmp_path / "s.mhd"
    write_sphere(path, center=(9, 9, 9), radius=3)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(DecodeError, match=told) as refusal:
        read_grid(path)
    assert "\n" not in str(refusal.value)


def test_a_truncated_file_of_voxels_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.mhd"
    write_sphere(path, center=(9, 9, 9), radius=3)
    raw = path.with_suffix(".raw")
    raw.write_bytes(raw.read_bytes()[:-7])
    with pytest.raises(DecodeError, match="has 95993"):
        luna16.axial_patch(path, (9, 9, 9), side_mm=8, pixels=8, window=WINDOW)


@pytest.mark.shared
def test_the_real_tables(shared_data: Path) -> None:
    nodules = luna16.read_nodules(shared_data / "luna16")
    assert (len(nodules), nodules["seriesuid"].nunique()) == (1186, 601)
    assert nodules["malignancy_votes"].notna().sum() == 1182
    # mean votes above, below and at 3, counted by hand from the table
    assert nodules["label_malignant"].value_counts(dropna=False).to_dict() == {0: 559, 1: 448, pd.NA: 179}
    first = nodules[nodules["seriesuid"].str.endswith("3678666836860")].iloc[0]
    assert json.loads(first["malignancy_votes"]) == [4, 2, 4, 2]
