"""A chapter that is added to published results rests on them, and on nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest
from small_project import PARAMETERS, Project, write_dataset

from radtransfer import paths
from radtransfer.data.store import CuratedDataset
from radtransfer.errors import DataError, InputError, StepError
from radtransfer.hashing import sha256_file
from radtransfer.report.inputs import runs_of
from radtransfer.report.step import Step
from radtransfer.study import driver, publish
from radtransfer.study.profiles import NOTEBOOKS, Notebook
from radtransfer.study.publish import verify_results
from radtransfer.study.supplement import supplement
from radtransfer.training.runs import RunRecord, RunSpec, RunStore, predictions_frame

DATA, BASELINES, TESTS = "01_data_curation", "02_traditional_baselines", "03_transfer_learning"
NAMES = (DATA, BASELINES, TESTS)
LAST = "06_holdout"
OTHER_DATA = 99
"""Seed with which other images are curated."""


@pytest.fixture
def published(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Two of three notebooks published; instead of a kernel, this process does their work."""

    def execute(notebook: Notebook, target: Path, parameters: Mapping[str, object], _: object) -> None:
        step = Step(notebook.name, study_dir=paths.study_dir("small"))
        step.number(f"{notebook.name[3:7]}.seed", int(str(parameters["SEED"])))
        step.table(notebook.name, pd.DataFrame({"n": [parameters["SEED"]]}), caption="Counts")
        if notebook.name == DATA:
            folder = paths.curated_dir() / "phantom_xray-0123456789ab"
            digest = "e" if parameters["SEED"] == OTHER_DATA else "d"
            write_dataset(folder, [f"image_{i}" for i in range(10)], digest=digest)
            step.dataset(CuratedDataset.open(folder))
        else:
            step.number(f"{notebook.name[3:7]}.before", step.previous(DATA)["numbers"][0]["value"])
        if notebook.name == BASELINES:
            step.runs([scored("metadata", int(str(parameters["SEED"])))])
        if notebook.name == LAST:
            (before,) = runs_of(step, BASELINES)
            assert before.spec.model == "metadata"
            assert before.predictions()["score"].tolist() == [0.25, 0.75]
            step.runs([scored("border", int(str(parameters["SEED"])))])
        step.save()
        target.write_text(notebook.path.read_text())

    monkeypatch.setattr(driver, "_papermill", execute)
    for name in NAMES:
        project.write_notebook(name)
    profile(project, DATA, BASELINES)
    driver.run_study("small")
    publish.publish("small")
    return project


def scored(model: str, seed: int) -> RunRecord:
    """A run that scored two images."""
    spec = RunSpec(
        recipe=1,
        kind="baseline",
        model=model,
        task="pneumonia",
        dataset_digest="d",
        folds_digest="f",
        fold=0,
        seed=seed,
    )
    ids = ["image_8", "image_9"]
    predictions = predictions_frame(
        spec, image_ids=ids, patient_ids=["p", "q"], part="test", labels=[0, 1], scores=[0.25, 0.75]
    )
    return RunStore().write(spec, predictions)


def profile(project: Project, *names: str, **seeds: int) -> None:
    given = {name: PARAMETERS[name] | ({"SEED": seeds[name]} if name in seeds else {}) for name in names}
    project.write_profile(publishable=True, notebooks=given)


def tree(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256_file(path) for path in folder.rglob("*") if path.is_file()}


def test_what_stands_stays_and_what_is_new_is_added(published: Project) -> None:
    results = published.root / "results"
    before = tree(results)
    profile(published, *NAMES)
    assert supplement("small", [TESTS]) == results
    verify_results(results)
    after = tree(results)
    changed = {name for name in before if before[name] != after[name]}
    told = {"numbers.json", "records.json", "runs.json", "timings.json", "environment.json"}
    assert changed <= told | {"profile.yaml", "SHA256SUMS"}
    assert after.keys() - before.keys() == {
        f"notebooks/{TESTS}.ipynb",
        f"tables/{TESTS}.csv",
        f"tables/{TESTS}.json",
    }
    numbers = json.loads((results / "numbers.json").read_text())["numbers"]
    assert [number["key"] for number in numbers if number["notebook"] == TESTS] == [
        "tran.seed",
        "tran.before",
    ]
    assert all(number["tolerance"] for number in numbers if number["notebook"] == DATA)
    records = json.loads((results / "records.json").read_text())["records"]
    assert [record["notebook"] for record in records] == list(NAMES)
    (entry,) = json.loads((results / "environment.json").read_text())["supplements"]
    assert entry["notebooks"] == [TESTS]
    assert entry["driver"]["python"]


def test_new_prose_of_what_stands_is_taken_over(published: Project) -> None:
    notebook = published.root / "results" / "notebooks" / f"{DATA}.ipynb"
    before = json.loads(notebook.read_text())["cells"]
    published.write_notebook(DATA, prose="# New prose")
    profile(published, *NAMES)
    supplement("small", [TESTS])
    verify_results(published.root / "results")
    after = json.loads(notebook.read_text())["cells"]
    assert "".join(after[0]["source"]) == "# New prose"
    assert after[1:] == before[1:]


def test_a_chapter_done_anew_takes_the_place_of_the_old_one(published: Project) -> None:
    profile(published, DATA, BASELINES, **{BASELINES: 5})
    supplement("small", [BASELINES])
    results = published.root / "results"
    verify_results(results)
    assert pd.read_csv(results / "tables" / f"{BASELINES}.csv")["n"].tolist() == [5]
    (run,) = set(pd.read_parquet(results / "predictions" / "pneumonia.parquet")["run"])
    assert run == scored("metadata", 5).spec.hash
    numbers = {n["key"]: n["value"] for n in json.loads((results / "numbers.json").read_text())["numbers"]}
    assert (numbers["trad.seed"], numbers["data.seed"]) == (5, 1)


def test_curation_is_done_anew_while_the_data_are_the_same(published: Project) -> None:
    results = published.root / "results"
    before = tree(results)
    profile(published, DATA, BASELINES, **{DATA: OTHER_DATA})
    with pytest.raises(DataError, match=f"{DATA} makes other data"):
        supplement("small", [DATA])
    assert tree(results) == before
    profile(published, DATA, BASELINES, **{DATA: 5})
    supplement("small", [DATA])
    verify_results(results)
    after = tree(results)
    told = {name for name in before if name.startswith(("curation/", "cohorts/"))}
    assert told
    assert {name: after.get(name) for name in told} == {name: before[name] for name in told}
    assert pd.read_csv(results / "tables" / f"{DATA}.csv")["n"].tolist() == [5]
    numbers = {n["key"]: n["value"] for n in json.loads((results / "numbers.json").read_text())["numbers"]}
    assert (numbers["data.seed"], numbers["trad.seed"]) == (5, 1)


def test_scores_of_the_hold_out_part_are_published_beside_those_of_the_folds(published: Project) -> None:
    table = published.root / "results" / "holdout" / "pneumonia.parquet"
    published.write_notebook(LAST)
    profile(published, *NAMES, LAST)
    shutil.rmtree(paths.runs_dir())  # only the data were curated here
    supplement("small", [TESTS, LAST])
    # what was published is not taken for trained here
    assert [path.name for path in paths.runs_dir().iterdir()] == [scored("border", 1).spec.hash]
    verify_results(published.root / "results")
    first = pd.read_parquet(table)
    assert first["score"].tolist() == [0.25, 0.75]
    profile(published, *NAMES, LAST, **{LAST: 5})
    supplement("small", [LAST])
    assert set(pd.read_parquet(table)["run"]).isdisjoint(first["run"])  # the old ones went with the chapter
    driver.run_study("small", force=True)
    publish.publish("small")
    assert pd.read_parquet(table)["score"].tolist() == [0.25, 0.75]


def test_refusals_leave_everything_as_it_was(
    published: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    results = published.root / "results"
    before = tree(results)
    profile(published, *NAMES)
    with pytest.raises(InputError, match=f"{TESTS} is not published"):
        supplement("small", [BASELINES])
    with pytest.raises(InputError, match="does not run"):
        supplement("small", ["04_evaluation"])
    profile(published, *NAMES, **{BASELINES: 9})
    with pytest.raises(InputError, match=f"{BASELINES} was published with other parameters"):
        supplement("small", [TESTS])
    profile(published, *NAMES)
    source = NOTEBOOKS[BASELINES].path
    kept = source.read_text()
    source.write_text(kept.replace("import json", "import json, math"))
    with pytest.raises(InputError, match=f"the code of {BASELINES}"):
        supplement("small", [TESTS])
    source.write_text(kept)

    def fail(*_: object) -> None:
        raise StepError("the notebook failed")

    monkeypatch.setattr(driver, "_papermill", fail)
    with pytest.raises(StepError, match="the notebook failed"):
        supplement("small", [TESTS])
    monkeypatch.setenv("RADTRANSFER_WORK", str(tmp_path / "elsewhere"))
    with pytest.raises(InputError, match="was not run in"):
        supplement("small", [TESTS])
    assert tree(results) == before


def test_records_of_another_run_are_not_mixed_in(published: Project) -> None:
    profile(published, *NAMES)
    record = paths.study_dir("small") / "records" / f"{BASELINES}.json"
    told = json.loads(record.read_text())
    told["numbers"][0]["value"] = 8
    record.write_text(json.dumps(told))
    with pytest.raises(DataError, match="of another run than the published results"):
        supplement("small", [TESTS])


def test_the_command_line_takes_several(published: Project) -> None:
    told = published.cli("publish", "--profile", "small", "--only", "04_evaluation", "--only", TESTS)
    assert told.returncode != 0
    assert "does not run '04_evaluation'" in told.stderr
