"""Every command of the appendix on one's own data runs as printed, on files like those it shows."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from pydicom import dcmread
from pydicom.data import get_testdata_file
from typer.testing import CliRunner

from radtransfer import paths
from radtransfer.data.commands import app
from radtransfer.data.formats import table
from radtransfer.errors import RadtransferError
from radtransfer.study.profiles import CurationParameters

PAGE = Path(__file__).parents[2] / "book" / "appendices" / "own_data.md"
RNG = np.random.default_rng(4)


def draw(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 255, (64, 64), dtype=np.uint8)).save(path)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.S | re.M)


@pytest.fixture
def project(tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(paths.manifest_path(), tmp_path)
    monkeypatch.setenv("RADTRANSFER_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for patient in range(30):
        for image in (1, 2):
            draw(tmp_path / "knees" / ("broken" if patient % 2 else "intact") / f"p{patient:03d}_{image}.png")
    (rows,) = (block for block in blocks("text") if block.startswith("scan;"))
    for image in re.findall(r"png/\d+\.png", rows):
        draw(tmp_path / "ward" / image)
    (tmp_path / "ward" / "labels.csv").write_text(rows)
    scan = dcmread(str(get_testdata_file("CT_small.dcm")))
    for name in ("PatientName", "PatientID", "AccessionNumber", "StudyID"):
        setattr(scan, name, "0123456789abcdef")
    (tmp_path / "dicom").mkdir()
    scan.save_as(tmp_path / "dicom" / "1.dcm")
    (tmp_path / "dicom" / "labels.csv").write_text(f"series,bleeding\n{scan.SeriesInstanceUID},1\n")
    official_nih(tmp_path / "nih")
    return tmp_path


def official_nih(root: Path) -> None:
    header = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    header += "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]\n"
    rows = [
        f"0000000{i}_000.png,{'Pneumonia' if i % 2 else 'No Finding'},0,{i},05{i},M,PA,64,64,0.1,0.1\n"
        for i in range(1, 5)
    ]
    for i in range(1, 5):
        draw(root / "images_001" / "images" / f"0000000{i}_000.png")
    (root / "Data_Entry_2017_v2020.csv").write_text(header + "".join(rows))


def test_every_command_runs_and_tells_what_the_page_says(project: Path) -> None:
    commands = [line[2:] for block in blocks("console") for line in block.splitlines()]
    assert all(line.startswith("radtransfer data ") for line in commands)
    said = {}
    for command in commands:
        result = CliRunner().invoke(app, shlex.split(command)[2:])
        said[command] = result.output
        if command == "radtransfer data audit dicom":
            # the file that pydicom brings is not de-identified, and that is what the page says
            assert isinstance(result.exception, RadtransferError)
            assert "may identify patients" in str(result.exception)
        else:
            assert result.exit_code == 0, (command, result.exception)
    dry, first, *_ = said.values()
    assert "patients are unknown" in dry
    assert "included: broken\t30\t15" in first
    assert "They are trusted as they were found" in first
    ward = said[next(command for command in commands if "add ward" in command)]
    assert "first '411' in line 3" in ward
    assert "first 'unknown' in line 4" in ward
    assert "FLAGGED" not in said["radtransfer data leakage knees --task fracture --image-size 64"]
    assert "60 files are what the manifest says" in said["radtransfer data verify knees"]
    assert "included: pneumonia\t2\t2" in said["radtransfer data add nih --id chestxray14"]
    task = re.search(r"`(fracture: \{dataset: knees\})`", PAGE.read_text(encoding="utf-8"))
    assert task
    given = {"TASKS": yaml.safe_load(task[1]), "IMAGE_SIZE": 64, "AGE_MIN": 18, "AGE_MAX": 80}
    CurationParameters.model_validate(
        given | {"EXAMINED_ONLY": {}, "TEST_FRACTION": 0.1, "N_FOLDS": 5, "SEED": 1}
    )
    (code,) = blocks("python")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(code, str(PAGE), "exec"), {})
    assert printed.getvalue().startswith("60 (60, 64, 64) (")


def test_the_table_of_options_is_complete() -> None:
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", PAGE.read_text(encoding="utf-8"), re.M)
    assert [name for name, _ in rows] == ["folder", "table", "dicom", "nifti", "medmnist"]
    for name, told in rows:
        options = import_module(f"radtransfer.data.formats.{name}").Options
        assert sorted(re.findall(r"`(\w+)`", told)) == sorted(options.model_fields)


def test_the_inline_example_of_labels_is_valid() -> None:
    (text,) = re.findall(r"`labels=(\{tumour.*?\})`", PAGE.read_text(encoding="utf-8"), re.S)
    label = table.Options(image="x", labels=yaml.safe_load(text)).labels["tumour"]
    assert label.meaning == {"GBM": 0, "Men": 1, "Pit": 2, "?": None}
