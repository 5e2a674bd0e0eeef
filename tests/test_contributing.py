"""The examples of CONTRIBUTING.md are short, and run as they are printed."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from planted_predictions import binary_predictions

from radtransfer.data import formats
from radtransfer.data.cohort import table1
from radtransfer.data.commands import app
from radtransfer.data.store import curate
from radtransfer.report.step import Step

PAGE = (Path(__file__).resolve().parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
LONGEST = 30


def blocks(section: str, language: str) -> list[str]:
    """Code of a section, in order."""
    (text,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", PAGE, re.S | re.M)
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.S | re.M)


@pytest.mark.parametrize("section", ["Add a dataset", "Add a network", "Add an analysis"])
def test_example_is_short(section: str) -> None:
    lines = [line for code in blocks(section, "python") for line in code.splitlines()]
    assert sum(bool(line.strip()) and not line.startswith("#") for line in lines) < LONGEST


def test_dataset(tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    (code,), (entry,) = blocks("Add a dataset", "python"), blocks("Add a dataset", "yaml")
    module = ModuleType("radtransfer.data.formats.montgomery")
    exec(compile(code, "montgomery.py", "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(formats, "FORMATS", (*formats.FORMATS, "montgomery"))
    monkeypatch.setenv("RADTRANSFER_ROOT", str(tmp_path))
    manifest = {"version": 1, "datasets": yaml.safe_load(entry)}
    (tmp_path / "data_manifest.yaml").write_text(yaml.safe_dump(manifest))
    folder = tmp_path / "MontgomerySet"
    rng = np.random.default_rng(3)
    for name in ("CXR_png", "ClinicalReadings"):
        (folder / name).mkdir(parents=True)
    for patient in range(40):
        name = f"MCUCXR_{patient:04d}_{patient % 2}"
        pixels = rng.integers(0, 255, (64, 64), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "CXR_png" / f"{name}.png")
        told = f"Patient's Sex: {'FM'[patient % 3 == 0]}\nPatient's Age: 0{20 + patient}Y\nnormal\n"
        (folder / "ClinicalReadings" / f"{name}.txt").write_text(told)
    added = CliRunner().invoke(app, ["add", str(folder), "--id", "montgomery"])
    assert added.exit_code == 0, added.output
    dataset = curate("montgomery", task="tuberculosis", image_size=32, n_folds=2, seed=1)
    assert dataset.images.shape == (40, 32, 32)
    assert dataset.cohort.frame["age_years"].tolist() == list(range(20, 60))
    assert dataset.cohort.frame["label_tuberculosis"].sum() == 20
    assert "sex: F" in table1(dataset.cohort, task="tuberculosis").index


def test_network(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("keras")
    from radtransfer.data.phantoms import PhantomSpec
    from radtransfer.models import descriptions, registry
    from radtransfer.models.freezing import prefix
    from radtransfer.training import runs
    from radtransfer.training.fit import train_networks

    backbone, description, spec = blocks("Add a network", "python")
    names: dict[str, Any] = dict(vars(registry))
    # annotations stay words, as in the module
    exec(compile(f"from __future__ import annotations\n{backbone}", "registry.py", "exec"), names)
    exec(compile(description, "descriptions.py", "exec"), names := names | vars(descriptions))
    exec(compile(spec, "runs.py", "exec"), names := names | vars(runs))
    added, told = names["MOBILENETV2"], names["MOBILENETV2_TOLD"]
    base = added.build(added.min_size)
    trained = sum(int(np.prod(weight.shape)) for weight in base.trainable_weights)
    assert (trained, base.output_shape[-1]) == (told.n_parameters, told.n_features)
    assert len(added.blocks) == told.n_blocks
    for _, layer in added.blocks:
        assert prefix(base, [layer]).output
    monkeypatch.setitem(registry.BACKBONES, added.name, added)
    phantom = PhantomSpec(modality="xray", n_patients=40, size=32, seed=1)
    dataset = curate("phantom_xray", task="pneumonia", image_size=32, n_folds=2, seed=1, phantom=phantom)
    options = runs.TrainingOptions(input_size=32, views=0, epochs=1, head_units=(8,), batch_size=8)
    (record,) = train_networks(
        dataset, task="pneumonia", networks=[names["SPEC"]], options=options, n_folds_used=1
    )
    assert record.spec.model == "mobilenetv2_scratch"
    assert record.predictions()["score"].between(0, 1).all()


def test_analysis(tmp_path: Path) -> None:
    module, cell = blocks("Add an analysis", "python")
    predictions = binary_predictions(n_patients=60, seed=2)
    step = Step("04_evaluation", study_dir=tmp_path)
    names: dict[str, Any] = {"predictions": predictions, "step": step}
    exec(compile(module, "spread.py", "exec"), names)
    exec(compile(cell, "cell", "exec"), names)
    spread = names["spread"]
    assert list(spread.index) == ["network"]
    assert 0.5 < spread.loc["network", "min"] <= spread.loc["network", "max"] < 1
    step.save()
    assert (tmp_path / "tables" / "spread_pneumonia.json").is_file()
