"""What is published is complete, current, checked, and names no machine."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from small_project import PARAMETERS, Project, write_dataset

from radtransfer import paths
from radtransfer.data.store import CuratedDataset
from radtransfer.errors import DataError, InputError, RadtransferError, StepError
from radtransfer.hashing import sha256_file
from radtransfer.report.step import Step
from radtransfer.study import driver, publish
from radtransfer.study.profiles import Notebook
from radtransfer.study.publish import verify_results
from radtransfer.training.runs import RunSpec, RunStore, predictions_frame

NOTEBOOK, BASELINES = "01_data_curation", "02_traditional_baselines"


def make_run(fold: int, **options: Any) -> Any:
    """Store a run of five images; returns its record."""
    spec = RunSpec(
        recipe=1,
        kind="baseline",
        model="metadata",
        task="pneumonia",
        dataset_digest="d",
        folds_digest="f",
        fold=fold,
        options=options,
        seed=1,
    )
    ids = [f"image_{fold}_{i}" for i in range(5)]
    table = predictions_frame(
        spec,
        image_ids=ids,
        patient_ids=ids,
        part="test",
        labels=[0, 1, 0, 1, 1],
        scores=np.random.default_rng(fold).random(5),
    )
    return RunStore().write(spec, table, metrics={"validation_auc": 0.75}, timings={"train_s": 1.5})


@pytest.fixture
def completed(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A publishable profile whose two steps have run; instead of a kernel, this process did their work."""

    def execute(notebook: Notebook, target: Path, parameters: Mapping[str, Any], _: object) -> None:
        study = paths.study_dir("small")
        step = Step(notebook.name, study_dir=study)
        if notebook.name == BASELINES:
            step.runs([make_run(0), make_run(1)])
            step.save()
            target.write_text(notebook.path.read_text())
            return
        step.number("test.seed", parameters["SEED"])
        step.number("cohort.pneumonia.mean_age", 51.5)
        step.table("cohort", pd.DataFrame({"n": [3]}), caption="Counts")
        # one model of one fold, twice: no table by model could hold them
        step.runs([make_run(0, protocol="by_image"), make_run(0, protocol="by_patient")])
        dataset = paths.curated_dir() / "phantom_xray-0123456789ab"
        write_dataset(dataset, [f"image_{fold}_{i}" for fold in (0, 1) for i in range(5)])
        step.dataset(CuratedDataset.open(dataset))
        step.save()
        content = json.loads(notebook.path.read_text())
        # a work folder elsewhere is named where the driver puts the parameters
        injected = {"cell_type": "code", "id": "x", "metadata": {"tags": ["injected-parameters"]}}
        injected |= {"source": f"STUDY_DIR = {str(study)!r}", "execution_count": 1}
        text = f"{dataset}/images.npy on {platform.node()}, {project.root}/src/a.py, {Path.home()}/b"
        content["cells"].insert(2, injected | {"outputs": []})
        content["cells"][-1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": text}]
        content["metadata"]["papermill"] = {"input_path": str(notebook.path), "duration": 1.0}
        target.write_text(json.dumps(content))

    monkeypatch.setattr(driver, "_papermill", execute)
    monkeypatch.setattr(publish.platform, "node", lambda: "node-of-mine")
    project.write_notebook(BASELINES)
    project.write_profile(
        publishable=True, notebooks={name: PARAMETERS[name] for name in (NOTEBOOK, BASELINES)}
    )
    driver.run_study("small")
    return project


def tree(folder: Path) -> dict[str, str]:
    """Digest of every file."""
    return {
        str(path.relative_to(folder)): sha256_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_everything_is_published_and_nothing_private(completed: Project) -> None:
    results = publish.publish("small")
    assert results == completed.root / "results"
    assert sorted(tree(results)) == [
        "SHA256SUMS",
        "cohorts/pneumonia.parquet",
        "curation/pneumonia.json",
        "environment.json",
        "notebooks/01_data_curation.ipynb",
        "notebooks/02_traditional_baselines.ipynb",
        "numbers.json",
        "predictions/pneumonia.parquet",
        "profile.yaml",
        "records.json",
        "runs.json",
        "tables/cohort.csv",
        "tables/cohort.json",
        "timings.json",
    ]
    verify_results(results)
    everything = "".join(path.read_text(errors="ignore") for path in results.rglob("*") if path.is_file())
    for private in (str(completed.root), str(Path.home()), "node-of-mine"):
        assert private not in everything

    notebook = json.loads((results / "notebooks" / f"{NOTEBOOK}.ipynb").read_text())
    assert notebook["cells"][-1]["outputs"][0]["text"] == (
        "work/curated/phantom_xray-0123456789ab/images.npy on host, ./src/a.py, ~/b"
    )
    assert notebook["cells"][2]["source"] == "STUDY_DIR = 'work/study/small'"
    assert notebook["metadata"]["papermill"] == {"duration": 1.0}
    assert json.loads((results / "numbers.json").read_text())["numbers"][0]["value"] == 1
    assert yaml.safe_load((results / "profile.yaml").read_text())["publishable"] is True
    timings = json.loads((results / "timings.json").read_text())
    runs = json.loads((results / "runs.json").read_text())["runs"]
    assert timings["runs"][3] == {
        "run": runs[3]["run"],
        "task": "pneumonia",
        "model": "metadata",
        "fold": 1,
        "train_s": 1.5,
    }
    assert timings["steps_s"][NOTEBOOK] >= 0
    environment = json.loads((results / "environment.json").read_text())
    assert environment["driver"]["python"] == platform.python_version()
    assert sum(entry["runs"] for entry in environment["training"]) == 4


def test_what_statistics_need_is_published(completed: Project) -> None:
    results = publish.publish("small")
    runs = json.loads((results / "runs.json").read_text())["runs"]
    assert [RunSpec.model_validate(run["spec"]).hash for run in runs] == [run["run"] for run in runs]
    assert [run["metrics"] for run in runs] == [{"validation_auc": 0.75}] * 4
    record, baselines = json.loads((results / "records.json").read_text())["records"]
    assert baselines["runs"] == [run["run"] for run in runs[2:]]
    assert record == {
        "notebook": NOTEBOOK,
        "profile": "small",
        "figures": [],
        "tables": ["cohort"],
        "runs": [run["run"] for run in runs[:2]],
        "datasets": {"pneumonia": "phantom_xray-0123456789ab"},
    }
    cohort = pd.read_parquet(results / "cohorts" / "pneumonia.parquet")
    dataset = CuratedDataset.open(paths.curated_dir() / "phantom_xray-0123456789ab")
    assert cohort["age_years"].equals(dataset.cohort.frame["age_years"])
    assert cohort["fold"].dropna().tolist() == [0, 0, 1, 1, 0, 0, 1, 1]
    assert cohort["part"].tolist() == ["train"] * 8 + ["test"] * 2
    # what may name a person or a folder stays at home, whatever a layout calls it
    assert not {"path", "remarks"} & set(cohort)


def test_every_number_is_published_with_its_tolerance(completed: Project) -> None:
    numbers = json.loads((publish.publish("small") / "numbers.json").read_text())["numbers"]
    exact = {"kind": "exact", "value": 0.0, "basis": "deterministic"}
    assert [number["tolerance"] for number in numbers] == [exact, exact]


def test_predictions_keep_every_digit(completed: Project) -> None:
    table = pd.read_parquet(publish.publish("small") / "predictions" / "pneumonia.parquet")
    for fold in (0, 1):
        part = table[table["fold"] == fold]
        np.testing.assert_array_equal(part["score"], np.random.default_rng(fold).random(5))
        assert part["image_id"].tolist() == [f"image_{fold}_{i}" for i in range(5)]


def test_models_of_protocols_under_test_are_in_no_table_of_models(completed: Project) -> None:
    # two more models of one name were trained, on the same images
    assert len(pd.read_parquet(publish.publish("small") / "predictions" / "pneumonia.parquet")) == 10


def test_publishing_twice_gives_the_same(completed: Project) -> None:
    first = tree(publish.publish("small"))
    assert tree(publish.publish("small")) == first


@pytest.mark.parametrize(
    ("spoil", "kind", "said"),
    [
        (lambda project: project.write_profile(), InputError, "profile 'small' is not publishable"),
        (
            lambda project: (project.study / "records" / f"{NOTEBOOK}.json").unlink(),
            StepError,
            r"not complete and current: 01_data_curation \(records/01_data_curation.json is gone\)",
        ),
        (
            lambda project: project.write_notebook(NOTEBOOK, "print('new')"),
            StepError,
            r"01_data_curation \(notebook changed\) \(radtransfer run --profile small\)",
        ),
        (
            lambda project: project.write_profile(
                publishable=True,
                notebooks={NOTEBOOK: PARAMETERS[NOTEBOOK] | {"TASKS": {"pneumonia": {"dataset": "readers"}}}},
            ),
            DataError,
            "the terms of readers",
        ),
        (
            lambda project: next(paths.runs_dir().glob("*/predictions.parquet")).write_bytes(b""),
            RadtransferError,
            "is damaged",
        ),
        (
            lambda project: paths.runs_dir().rename(paths.work_dir() / "moved"),
            StepError,
            "is gone",
        ),
        (
            lambda project: project.root.joinpath("profiles/small.yaml").unlink(),
            InputError,
            "unknown profile",
        ),
    ],
    ids=["not publishable", "incomplete", "stale", "registered", "damaged run", "lost runs", "no profile"],
)
def test_the_old_results_stay_if_anything_is_wrong(
    completed: Project, spoil: Any, kind: type[Exception], said: str
) -> None:
    before = tree(publish.publish("small"))
    spoil(completed)
    with pytest.raises(kind, match=said):
        publish.publish("small")
    assert tree(completed.root / "results") == before
    assert not list(completed.root.glob(".partial-*"))


def test_too_much_is_refused(completed: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "LIMIT_MIB", 0.001)
    with pytest.raises(DataError, match=r"the results take 0\.0 MiB, more than 0\.001; the largest file is "):
        publish.publish("small")
    assert not (completed.root / "results").exists()


def test_a_table_that_names_the_machine_is_refused(
    completed: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a table is data and is not rewritten: whoever wrote the path into it has to take it out
    monkeypatch.setattr(publish.platform, "node", lambda: "Counts")
    with pytest.raises(DataError, match=r"tables/cohort\.json names this machine: 'Counts'"):
        publish.publish("small")


def test_a_failing_move_puts_the_old_results_back(
    completed: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree(publish.publish("small"))
    rename = Path.rename

    def fail_for_new(self: Path, target: Path) -> Path:
        if self.name.startswith(".partial-") and not self.name.endswith("-old"):
            raise OSError("no")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_for_new)
    with pytest.raises(OSError, match="no"):
        publish.publish("small")
    assert tree(completed.root / "results") == before


@pytest.mark.parametrize(
    ("alter", "said"),
    [
        (lambda folder: (folder / "numbers.json").unlink(), "numbers.json is missing"),
        (lambda folder: (folder / "numbers.json").write_text("{}"), "numbers.json is altered"),
        (lambda folder: (folder / "more.csv").write_text("x"), "more.csv is not a published file"),
        (lambda folder: (folder / "SHA256SUMS").unlink(), "no SHA256SUMS"),
    ],
)
def test_altered_results_are_noticed(completed: Project, alter: Any, said: str) -> None:
    results = publish.publish("small")
    alter(results)
    with pytest.raises(DataError, match=said):
        verify_results(results)
