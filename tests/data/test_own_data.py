"""One's own data: trusted as found, recorded, and held against that record ever after."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from radtransfer import paths
from radtransfer.data.commands import app
from radtransfer.data.fetch import fetch, verify
from radtransfer.data.manifest import Manifest, entries_of, load_manifest
from radtransfer.data.own import prepare, record
from radtransfer.data.store import curate
from radtransfer.errors import DataError, InputError

RUN = CliRunner()
FIELDS = {
    "format": "folder",
    "modality": "xray",
    "options": {"task": "fracture", "classes": ["intact", "broken"], "patient": "(?P<patient>p[0-9]+)_"},
}


@pytest.fixture
def study(tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Project of its own, so that no test adds to the checkout's manifest."""
    folder = tmp_path / "study"
    folder.mkdir()
    shutil.copy(paths.manifest_path(), folder)
    monkeypatch.setenv("RADTRANSFER_ROOT", str(folder))
    return folder


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """Forty images of twenty patients."""
    rng = np.random.default_rng(1)
    for i in range(40):
        path = tmp_path / "mine" / ("broken" if i % 4 > 1 else "intact") / f"p{i // 2}_{i % 2}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (40, 40), dtype=np.uint8)).save(path)
    return tmp_path / "mine"


def add(folder: Path, name: str = "hospital", **changes: Any) -> Path:
    return record(prepare(folder, name, FIELDS | changes))


def test_a_folder_is_recorded_used_in_place_and_curated(study: Path, mine: Path) -> None:
    add(mine)
    entry = load_manifest().dataset("hospital")
    assert (entry.access, entry.tasks, len(entries_of(entry.files))) == ("own", ("fracture",), 40)
    root = fetch("hospital")
    linked = root / "broken" / "p1_0.png"
    assert linked.is_symlink()
    assert linked.resolve() == mine / "broken" / "p1_0.png"
    assert verify("hospital").ok
    dataset = curate("hospital", task="fracture", image_size=32, seed=1, n_folds=3)
    assert (dataset.cohort.dataset, len(dataset.images)) == ("hospital", 40)
    assert set(dataset.cohort.frame["modality"]) == {"xray"}
    assert dataset.cohort.n_patients == 20


def test_the_studys_manifest_is_not_touched(study: Path, mine: Path) -> None:
    before = (study / "data_manifest.yaml").read_bytes()
    add(mine)
    assert (study / "data_manifest.yaml").read_bytes() == before
    assert sorted(path.suffix for path in (study / "own_data").iterdir()) == [".lock", ".tsv", ".yaml"]


def test_an_altered_file_is_found_and_refused(study: Path, mine: Path) -> None:
    add(mine)
    fetch("hospital")
    content = bytearray((mine / "intact" / "p0_0.png").read_bytes())
    content[-1] ^= 1
    (mine / "intact" / "p0_0.png").write_bytes(content)
    (problem,) = verify("hospital").problems
    assert problem.path == "intact/p0_0.png"
    with pytest.raises(DataError, match=r"intact/p0_0\.png: expected sha256 .* --id hospital --replace"):
        fetch("hospital")
    record(prepare(mine, "hospital", FIELDS, replace=True))
    assert verify_again("hospital")


def verify_again(name: str) -> bool:
    fetch(name)
    return verify(name).ok


def test_files_that_came_later_are_not_seen(study: Path, mine: Path) -> None:
    add(mine)
    shutil.copy(mine / "intact" / "p0_0.png", mine / "intact" / "p99_0.png")
    root = fetch("hospital")
    assert not (root / "intact" / "p99_0.png").exists()
    record(prepare(mine, "hospital", FIELDS, replace=True))
    assert (fetch("hospital") / "intact" / "p99_0.png").exists()


def test_files_that_went_are_missed_and_their_links_removed(study: Path, mine: Path) -> None:
    add(mine)
    root = fetch("hospital")
    (mine / "intact" / "p0_0.png").unlink()
    with pytest.raises(DataError, match=r"intact/p0_0\.png: expected \d+ bytes, got no file"):
        fetch("hospital")
    record(prepare(mine, "hospital", FIELDS, replace=True))
    fetch("hospital")
    assert not (root / "intact" / "p0_0.png").is_symlink()
    assert len(list((study / "own_data").glob("*.tsv"))) == 1


def test_a_folder_that_moved(study: Path, mine: Path) -> None:
    add(mine)
    mine.rename(mine.with_name("moved"))
    with pytest.raises(DataError, match=r"folder .*mine is not there"):
        fetch("hospital")


def test_a_changed_record_is_refused(study: Path, mine: Path) -> None:
    add(mine)
    (listed,) = (study / "own_data").glob("*.tsv")
    listed.write_text(listed.read_text().replace("intact/p0_0", "intact/p0_9"))
    with pytest.raises(DataError, match="is not the manifest's"):
        fetch("hospital")


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("phe_sich", {}, "phe_sich is a dataset of the study"),
        ("hospital", {"modality": "ultrasound"}, "hospital: modality"),
        ("hospital", {"format": "foldr"}, "did you mean 'folder'"),
        ("hospital", {"options": {"task": "x", "clases": []}}, "did you mean 'classes'"),
        ("No Name", {}, "id: "),
        ("luna16", {}, "the study's manifest says its format, modality"),
    ],
)
def test_what_cannot_be_added(
    study: Path, mine: Path, name: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        prepare(mine, name, FIELDS | changes)
    assert not (study / "own_data").exists()


def test_adding_twice_needs_a_word(study: Path, mine: Path) -> None:
    add(mine)
    with pytest.raises(InputError, match="was added before"):
        prepare(mine, "hospital", FIELDS)


def test_names_that_would_break_the_list(study: Path, mine: Path) -> None:
    (mine / "intact" / "p1_\t2.png").write_bytes(b"")
    with pytest.raises(DataError, match="cannot be listed"):
        prepare(mine, "hospital", FIELDS)


def test_a_broken_manifest_of_ones_own_is_told_by_its_name(study: Path, mine: Path) -> None:
    manifest = add(mine)
    manifest.write_text(manifest.read_text().replace("modality: xray", "modality: xry"))
    with pytest.raises(InputError, match=r"own_data/manifest\.yaml: datasets\.hospital\.modality"):
        load_manifest()


def test_data_of_the_study_downloaded_by_hand(study: Path, tmp_path: Path) -> None:
    """First sight of a folder in the layout of ChestX-ray14."""
    with pytest.raises(
        DataError, match=r"nihcc\.app\.box\.com.*radtransfer data add FOLDER --id chestxray14"
    ):
        fetch("chestxray14")
    with pytest.raises(DataError, match="downloaded by hand"):
        curate("chestxray14", task="pneumonia", seed=1)
    folder = official_nih(tmp_path / "nih")
    said = RUN.invoke(app, ["add", str(folder), "--id", "chestxray14"])
    assert said.exit_code == 0, said.exception
    assert "They are trusted as they were found" in said.output
    entry = load_manifest().dataset("chestxray14")
    study_entry = load_manifest(study / "data_manifest.yaml").dataset("chestxray14")
    assert (entry.title, entry.licence, entry.format) == (
        study_entry.title,
        study_entry.licence,
        "chestxray14",
    )
    assert "pneumonia" in entry.tasks
    assert len(entries_of(entry.files)) == 5
    assert verify_again("chestxray14")
    assert "included: pneumonia" in RUN.invoke(app, ["describe", "chestxray14"]).output


def official_nih(root: Path) -> Path:
    header = (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
        "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]\n"
    )
    rows = [
        f"0000000{i}_000.png,{'Pneumonia' if i % 2 else 'No Finding'},0,{i},05{i},M,PA,64,64,0.1,0.1\n"
        for i in range(1, 5)
    ]
    images = root / "images_001" / "images"
    images.mkdir(parents=True)
    (root / "Data_Entry_2017_v2020.csv").write_text(header + "".join(rows))
    for i in range(1, 5):
        Image.new("L", (64, 64), i).save(images / f"0000000{i}_000.png")
    return root


def test_a_manifest_of_another_place_has_no_own_data(study: Path, mine: Path) -> None:
    add(mine)
    alone: Manifest = load_manifest(study / "data_manifest.yaml")
    assert "hospital" not in alone.datasets


def test_dry_run_writes_nothing(study: Path, mine: Path) -> None:
    command = f"add {mine} --id hospital --format folder --modality xray --task fracture --dry-run"
    said = RUN.invoke(app, [*command.split(), "--option", "classes=[intact, broken]"])
    assert said.exit_code == 0, said.exception
    assert "40 files, 0.1 MB would be recorded" in said.output
    assert "finding: patients are unknown" in said.output
    assert re.search(r"included: broken\t20\t20", said.output)
    assert not (study / "own_data").exists()


@pytest.mark.parametrize(
    ("option", "message"), [("classes", "has no '='"), ("classes=[a", "--option classes: ")]
)
def test_options_that_cannot_be_read(study: Path, mine: Path, option: str, message: str) -> None:
    said = RUN.invoke(app, ["add", str(mine), "--id", "a", "--format", "folder", "--option", option])
    assert isinstance(said.exception, InputError)
    assert message in str(said.exception)
