"""Layouts for one's own data: a folder per class, a table, a MedMNIST file. Nothing is guessed."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from radtransfer.data.cohort import Cohort, select
from radtransfer.data.formats import folder, medmnist, table
from radtransfer.errors import DataError, InputError, RadtransferError


def draw(path: Path, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 4), value).save(path)


# --- a folder per class ---

FOLDER = {"task": "pneumonia", "classes": ["normal", "pneumonia"]}


def test_folders_are_classes_in_any_depth(tmp_path: Path) -> None:
    for path in (
        "train/normal/p1/a.png",
        "train/pneumonia/p2/day 1/a.JPG",
        "Val/normal/b.png",
        "test/pneumonia/p2/c.png",
        "other/normal/d.png",
    ):
        draw(tmp_path / path)
    (tmp_path / "train/normal/notes.txt").write_text("no image")
    cohort = folder.read_cohort(tmp_path, FOLDER)
    frame = cohort.frame.set_index("image_id")
    assert cohort.classes_of("pneumonia") == ("normal", "pneumonia")
    assert frame["label_pneumonia"].to_dict() == {
        "Val/normal/b.png": 0,
        "other/normal/d.png": 0,
        "test/pneumonia/p2/c.png": 1,
        "train/normal/p1/a.png": 0,
        "train/pneumonia/p2/day 1/a.JPG": 1,
    }
    assert frame["official_split"].fillna("").tolist() == ["validation", "", "test", "train", "train"]
    assert frame["patient_id"].tolist() == frame.index.tolist()
    assert "patients are unknown" in folder.findings(tmp_path, FOLDER)[0]
    assert folder.read_image(tmp_path, frame.iloc[0].to_dict()).shape == (4, 4)


def test_patients_from_paths(tmp_path: Path) -> None:
    for path in ("normal/p1/a.png", "pneumonia/p1/b.png", "pneumonia/p22/a.png"):
        draw(tmp_path / path)
    options = FOLDER | {"patient": r"/(?P<patient>p\d+)/"}
    cohort = folder.read_cohort(tmp_path, options)
    assert cohort.frame["patient_id"].tolist() == ["p1", "p1", "p22"]
    assert cohort.patients_in_both_classes("pneumonia") == ("p1",)
    assert folder.findings(tmp_path, options) == ()
    draw(tmp_path / "normal/stray.png")
    with pytest.raises(DataError, match=r"normal/stray\.png names no patient"):
        folder.read_cohort(tmp_path, options)


def test_three_classes_and_an_excluded_one(tmp_path: Path) -> None:
    for name in ("Glioma", "Meningioma", "Pituitary tumour", "Healthy"):
        draw(tmp_path / name / "a.png")
    cohort = folder.read_cohort(
        tmp_path,
        {
            "task": "tumour",
            "classes": ["Glioma", "Meningioma", "Pituitary tumour"],
            "excluded": {"Healthy": "no tumour"},
        },
    )
    assert cohort.classes_of("tumour") == ("glioma", "meningioma", "pituitary_tumour")
    kept, flow = select(cohort, task="tumour")
    assert kept.labels("tumour").tolist() == [0, 1, 2]
    assert (flow.steps[0].reason, flow.steps[0].n_images) == ("no tumour", 1)


def test_parts_by_other_names(tmp_path: Path) -> None:
    draw(tmp_path / "lot A/normal/a.png")
    draw(tmp_path / "lot b/pneumonia/train/a.png")
    options = FOLDER | {"parts": {"lot a": "train", "lot b": "test"}}
    assert folder.read_cohort(tmp_path, options).frame["official_split"].tolist() == ["train", "test"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("covid/a.png", r"covid/a\.png is in no class .*normal, pneumonia"),
        ("normal/pneumonia/a.png", "is in two: normal, pneumonia"),
        ("train/test/normal/a.png", "is in two: test, train"),
    ],
)
def test_an_image_that_fits_nowhere(tmp_path: Path, path: str, message: str) -> None:
    draw(tmp_path / path)
    with pytest.raises(DataError, match=message):
        folder.read_cohort(tmp_path, FOLDER)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "Pneumonia!", "classes": ["a", "b"]}, "option task of the layout folder"),
        ({"task": "x", "classes": ["a"]}, "option classes"),
        ({"task": "x"}, "option classes"),
        ({"task": "x", "classes": ["a", "b"], "patient": "p(\\d+)"}, r"no group \(\?P<patient>"),
        ({"task": "x", "classes": ["a", "b"], "patient": "(?P<patient>"}, "no regular expression"),
        ({"task": "x", "classes": ["a", "b"], "pateint": "p"}, "did you mean 'patient'"),
    ],
)
def test_wrong_options_of_a_folder(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    draw(tmp_path / "a/1.png")
    with pytest.raises(InputError, match=message):
        folder.read_cohort(tmp_path, options)


# --- a table ---

TABLE = {
    "image": "file",
    "patient": "pid",
    "age": "age",
    "sex": "sex",
    "view": "view",
    "split": "part",
    "labels": {"pneumonia": {"column": "Pneumonia"}},
}
HEADER = "file,pid,age,sex,view,part,Pneumonia\n"


def write(root: Path, text: str, name: str = "t.csv", encoding: str = "utf-8") -> Path:
    (root / name).write_bytes(text.encode(encoding))
    for image in ("a", "b", "c", "d"):
        draw(root / "im" / f"{image}.png")
    return root


def test_a_table_of_everything(tmp_path: Path) -> None:
    text = (
        HEADER
        + "im/a.png,p1,058Y,F,PA,train,1\n"
        + "im/b.png,p1,411,male,AP,Val,0.0\n"
        + 'im/c.png,p2,,unknown,,test,-1\n"im/d.png",p3,006M,M,PA,,\n'
    )
    write(tmp_path, text)
    frame = table.read_cohort(tmp_path, TABLE).frame
    assert frame["image_id"].tolist() == ["im/a.png", "im/b.png", "im/c.png", "im/d.png"]
    assert frame["patient_id"].tolist() == ["p1", "p1", "p2", "p3"]
    assert frame["age_years"].fillna(-1).tolist() == [58, -1, -1, 0.5]
    assert frame["sex"].fillna("").tolist() == ["F", "M", "", "M"]
    assert frame["view"].fillna("").tolist() == ["PA", "AP", "", "PA"]
    assert frame["official_split"].fillna("").tolist() == ["train", "validation", "test", ""]
    assert frame["label_pneumonia"].fillna(-9).tolist() == [1, 0, -9, -9]
    assert frame["site"].isna().all()
    assert table.findings(tmp_path, TABLE) == (
        "t.csv: fields are separated by commas",
        "t.csv: 1 of 3 values of age count as unknown, first '411' in line 3",
        "t.csv: 1 of 4 values of sex count as unknown, first 'unknown' in line 4",
    )


@pytest.mark.parametrize(("separator", "name"), [(",", "commas"), (";", "semicolons"), ("\t", "tabs")])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_separators_marks_and_line_ends(
    tmp_path: Path, separator: str, name: str, encoding: str, newline: str
) -> None:
    rows = [["file", "y"], ["im/a.png", "1"], ["im\\b.png", "0"]]
    write(tmp_path, "".join(separator.join(row) + newline for row in rows), encoding=encoding)
    options = {"image": "file", "labels": {"x": {"column": "y"}}}
    assert table.read_cohort(tmp_path, options).labels("x").tolist() == [1, 0]
    assert table.findings(tmp_path, options)[0] == f"t.csv: fields are separated by {name}"


def test_values_and_classes_by_name(tmp_path: Path) -> None:
    write(tmp_path, "file,dx,who,s\na.png,Glioma,1,v\nb.png,meningioma,2,m\nc.png,?,1,x\nd.png,Pit,2,v\n")
    options = {
        "image": "file",
        "folder": "im",
        "labels": {
            "tumour": {
                "column": "dx",
                "values": {"Glioma": 0, "meningioma": 1, "Pit": 2, "?": None},
                "classes": ["glioma", "meningioma", "pituitary"],
            },
            "glioma": {"column": "dx", "values": {"Glioma": 1, "meningioma": 0, "Pit": 0, "?": None}},
        },
        "sex": "s",
        "sexes": {"v": "F", "m": "M"},
        "group": "who",
    }
    cohort = table.read_cohort(tmp_path, options)
    assert cohort.classes_of("tumour") == ("glioma", "meningioma", "pituitary")
    assert cohort.labels("tumour").fillna(-1).tolist() == [0, 1, -1, 2]
    assert cohort.labels("glioma").fillna(-1).tolist() == [1, 0, -1, 0]
    assert cohort.frame["sex"].fillna("").tolist() == ["F", "M", "", "F"]
    assert cohort.frame["group_id"].tolist() == ["1", "2", "1", "2"]
    assert cohort.frame["path"].iloc[0] == "im/a.png"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("im/a.png,p1,5,F,PA,train,2\n", r"t\.csv, line 2: Pneumonia is '2'"),
        ("im/a.png,p1,5,F,PA,holdout,1\n", "line 2: part is 'holdout'"),
        ("im/a.png,p1,5,F,PA,train,1\nim/a.png,p1,5,F,PA,train,0\n", r"im/a\.png in lines 2 and 3"),
        ("im/a.png,,5,F,PA,train,1\n", "line 2: pid is empty"),
        (",p1,5,F,PA,train,1\n", "line 2: file is empty"),
        ("../a.png,p1,5,F,PA,train,1\n", r"line 2: the path '../a\.png' leaves the folder"),
        ("/etc/passwd,p1,5,F,PA,train,1\n", "leaves the folder"),
        ("im\\..\\..\\a.png,p1,5,F,PA,train,1\n", "leaves the folder"),
        ("C:/a.png,p1,5,F,PA,train,1\n", "leaves the folder"),
        ("im/a.png,p1,5,F,PA,train,1\nim/z.png,p1,5,F,PA,train,1\n", r"1 of 2 images .*im/z\.png in line 3"),
        ("im/a.png,p1,5,F,PA,train\n", "line 2: 6 fields, but the header has 7"),
        ('im/a.png,"p1,5,F,PA,train,1\n', "line 2"),
        ("", "has no rows"),
    ],
)
def test_a_broken_row_is_refused_with_its_line(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        table.read_cohort(write(tmp_path, HEADER + rows), TABLE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file;Pneumonia,x\n", "several of"),
        ("file\nim/a.png\n", "none of"),
        ("file,y\nim/a.png,1\n", r"no column 'pid' \(it has: file, y\)"),
    ],
)
def test_a_broken_header(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        table.read_cohort(write(tmp_path, text), TABLE)


def test_text_in_another_encoding(tmp_path: Path) -> None:
    write(tmp_path, "file,pätient\n", encoding="latin-1")
    with pytest.raises(DataError, match="no UTF-8 text"):
        table.read_cohort(tmp_path, TABLE)


def test_several_tables_need_a_name(tmp_path: Path) -> None:
    write(tmp_path, "file,y\nim/a.png,1\n", name="a.csv")
    write(tmp_path, "file,y\nim/b.png,1\n", name="b.csv")
    options = {"image": "file", "labels": {"x": {"column": "y"}}}
    with pytest.raises(DataError, match=r"2 tables .*option table"):
        table.read_cohort(tmp_path, options)
    assert table.read_cohort(tmp_path, options | {"table": "b.csv"}).frame["path"].tolist() == ["im/b.png"]


CELLS = st.sampled_from(
    [
        "im/a.png",
        "../x",
        "p1",
        "058Y",
        "411",
        "-3",
        "F",
        "f",
        "other",
        "-1",
        "1",
        "2",
        "",
        '"',
        "\x00",
        "é",
        ";",
    ]
)


@given(rows=st.lists(st.lists(CELLS, min_size=1, max_size=8), max_size=6), bom=st.booleans())
@settings(max_examples=150)
def test_any_table_gives_a_cohort_or_says_why_not(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], bom: bool
) -> None:
    root = tmp_path_factory.getbasetemp() / "any"
    if not root.is_dir():
        write(root.mkdir() or root, "")
    text = HEADER + "".join(",".join(row) + "\n" for row in rows)
    (root / "t.csv").write_bytes(text.encode("utf-8-sig" if bom else "utf-8"))
    with contextlib.suppress(RadtransferError):  # any other error fails the test
        cohort = table.read_cohort(root, TABLE)
        assert cohort.frame["path"].tolist() == ["im/a.png"]
        assert cohort.frame["age_years"].dropna().between(0, 120).all()
        assert set(cohort.frame["label_pneumonia"].dropna()) <= {0, 1}


# --- MedMNIST ---

PNEUMONIA = {"task": "pneumonia", "counts": {"train": 4708, "validation": 524, "test": 624}}


def arrays(n: int = 3, shape: tuple[int, ...] = (28, 28), labels: int = 1, k: int = 2) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    return {
        f"{part}_{kind}": rng.integers(0, 255, (n, *shape), dtype=np.uint8)
        if kind == "images"
        else (np.arange(n * labels) % k).astype(np.uint8).reshape(n, labels)
        for part in ("train", "val", "test")
        for kind in ("images", "labels")
    }


def read(root: Path, cohort: Cohort, split: str, frame: int) -> np.ndarray[Any, Any]:
    rows = cohort.frame[(cohort.frame["official_split"] == split) & (cohort.frame["frame"] == frame)]
    return medmnist.read_image(root, rows.iloc[0].to_dict())


@pytest.mark.shared
def test_a_truncated_file_is_told_of(shared_data: Path) -> None:
    root = shared_data / "medmnist"
    cohort = medmnist.read_cohort(root, PNEUMONIA)
    assert cohort.frame["official_split"].value_counts().to_dict() == {
        "train": 3882,
        "test": 624,
        "validation": 524,
    }
    (told,) = medmnist.findings(root, PNEUMONIA)
    assert told == "pneumoniamnist_truncated_train.npz: train has 3,882 of 4,708 images"
    whole = np.load(root / "pneumoniamnist_truncated_train.npz", allow_pickle=False)
    for frame in (3881, 0, 1200):
        np.testing.assert_array_equal(read(root, cohort, "train", frame), whole["train_images"][frame])
    labels = cohort.frame[cohort.frame["official_split"] == "test"]["label_pneumonia"]
    assert labels.tolist() == whole["test_labels"].ravel().tolist()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("size", [28, 224])
def test_frames_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save: Any, size: int) -> None:
    monkeypatch.setattr(medmnist, "BLOCK_BYTES", 2 * size * size)
    content = arrays(13, (size, size))
    save(tmp_path / "x.npz", **content)
    cohort = medmnist.read_cohort(tmp_path, {"task": "x"})
    assert medmnist.findings(tmp_path, {"task": "x"}) == ()
    for frame in (*range(13), 12, 0, 7, 3):
        np.testing.assert_array_equal(
            read(tmp_path, cohort, "validation", frame), content["val_images"][frame]
        )


def test_colour_classes_and_several_labels(tmp_path: Path) -> None:
    content = arrays(5, (8, 8, 3), k=4)
    np.savez(tmp_path / "x.npz", **content)
    options = {"task": "cell", "classes": ["a", "b", "c", "d"]}
    cohort = medmnist.read_cohort(tmp_path, options)
    assert cohort.classes_of("cell") == ("a", "b", "c", "d")
    assert cohort.frame["label_cell"].tolist() == [0, 1, 2, 3, 0] * 3
    grey = read(tmp_path, cohort, "train", 2)
    luma = content["train_images"][2] @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(grey, luma, atol=1)
    with pytest.raises(DataError, match="the label 3, but cell has 3 classes"):
        medmnist.read_cohort(tmp_path, {"task": "cell", "classes": ["a", "b", "c"]})
    np.savez(tmp_path / "x.npz", **arrays(4, (8, 8), labels=2))
    many = medmnist.read_cohort(tmp_path, {"classes": ["mass", "nodule"]})
    assert many.tasks == ("mass", "nodule")
    assert many.labels("nodule").eq(1).all()
    with pytest.raises(DataError, match="2 labels an image"):
        medmnist.read_cohort(tmp_path, {"task": "mass"})


def test_volumes(tmp_path: Path) -> None:
    content = arrays(3, (8, 8, 8))
    np.savez(tmp_path / "x.npz", **content)
    middle = medmnist.read_cohort(tmp_path, {"task": "x"})
    assert middle.n_images == 9
    np.testing.assert_array_equal(read(tmp_path, middle, "test", 2), content["test_images"][2, 4])
    every = medmnist.read_cohort(tmp_path, {"task": "x", "slices": "all"})
    assert (every.n_images, every.frame["group_id"].nunique()) == (72, 9)
    row = every.frame[every.frame["group_id"] == "val_000001"].iloc[7].to_dict()
    assert (row["slice_fraction"], row["frame"]) == (1, 1)
    np.testing.assert_array_equal(medmnist.read_image(tmp_path, row), content["val_images"][1, 7])


class Bomb:
    def __reduce__(self) -> Any:
        return os.mkdir, ("pickle-was-executed",)


@pytest.mark.parametrize("name", ["train_images", "val_labels"])
def test_pickles_are_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    bomb = np.empty(3, dtype=object)
    bomb[:] = Bomb()
    np.savez(tmp_path / "x.npz", **(arrays() | {name: bomb}))
    with pytest.raises(DataError, match=f"{name} holds Python objects"):
        medmnist.read_cohort(tmp_path, {"task": "x"})
    (tmp_path / "x.npz").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(DataError, match=r"x\.npz is damaged"):
        medmnist.read_cohort(tmp_path, {"task": "x"})
    assert not (tmp_path / "pickle-was-executed").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_images": np.zeros((3, 8, 8))}, "type float64"),
        ({"train_images": np.zeros((3, 8), dtype=np.uint8)}, r"shape \(3, 8\)"),
        ({"train_images": np.asfortranarray(np.ones((3, 8, 8), dtype=np.uint8))}, "column by column"),
        ({"test_labels": np.zeros((2, 1), dtype=np.uint8)}, "for 3 images"),
        ({"test_labels": np.zeros((3, 1))}, "type float64"),
        ({"test_labels": np.full((3, 1), -1)}, "the label -1"),
        ({"test_labels": None}, "no array test_labels"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    content = {name: array for name, array in (arrays() | change).items() if array is not None}
    np.savez(tmp_path / "x.npz", **content)
    with pytest.raises(DataError, match=message):
        medmnist.read_cohort(tmp_path, {"task": "x"})


@pytest.mark.parametrize("smooth", [False, True])
def test_damage_is_found_before_pixels_are_used(tmp_path: Path, smooth: bool) -> None:
    """Damaged streams often unpack to other pixels without complaint."""
    content = arrays(200)
    if smooth:
        content["train_images"] = (np.arange(200 * 28 * 28) ** 2 >> 19).astype(np.uint8).reshape(200, 28, 28)
    np.savez_compressed(tmp_path / "x.npz", **content)
    raw = bytearray((tmp_path / "x.npz").read_bytes())
    with zipfile.ZipFile(tmp_path / "x.npz") as members:
        member = members.getinfo("train_images.npy")
    middle = member.header_offset + member.compress_size // 2
    raw[middle : middle + 400] = bytes(400)
    (tmp_path / "x.npz").write_bytes(raw)
    with pytest.raises(DataError, match=r"x\.npz is damaged"):
        medmnist.read_cohort(tmp_path, {"task": "x"})


def test_a_file_that_is_cut_off_after_its_cohort_was_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **arrays(2000))
    cohort = medmnist.read_cohort(tmp_path, {"task": "x"})
    os.truncate(tmp_path / "x.npz", 10_000)
    with pytest.raises(RadtransferError, match="is damaged"):
        read(tmp_path, cohort, "test", 1999)


@given(where=st.integers(0, 10**6), value=st.integers(0, 255), cut=st.booleans())
@settings(max_examples=150)
def test_any_damage_gives_a_cohort_or_a_message(
    tmp_path_factory: pytest.TempPathFactory, where: int, value: int, cut: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged" / "x.npz"
    path.parent.mkdir(exist_ok=True)
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays(2, (4, 4)))
    raw = bytearray(stream.getvalue())
    raw[where % len(raw)] = value
    path.write_bytes(raw[: where % len(raw)] if cut else raw)
    with contextlib.suppress(RadtransferError):  # any other error fails the test
        cohort = medmnist.read_cohort(path.parent, {"task": "x"})
        for row in cohort.frame.to_dict("records"):
            assert medmnist.read_image(path.parent, row).shape == (4, 4)
