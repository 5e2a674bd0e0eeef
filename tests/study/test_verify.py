"""Published results are computed again: what was altered in them, or in the code, is found."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from small_project import PARAMETERS, Project, make_project, write_dataset

import radtransfer
from radtransfer import paths
from radtransfer.data.store import CuratedDataset
from radtransfer.errors import DataError, InputError, StepError
from radtransfer.hashing import sha256_file
from radtransfer.report.numbers import Registry
from radtransfer.report.step import Step
from radtransfer.study import driver, verify
from radtransfer.study.comparison import compare_files, compare_recomputed
from radtransfer.study.frozen import read_records, thaw
from radtransfer.study.profiles import NOTEBOOKS, Notebook
from radtransfer.study.publish import publish
from radtransfer.study.verification import Verification, read, report_path
from radtransfer.study.verify import verify_from_predictions, verify_rerun
from radtransfer.training.runs import RunSpec, RunStore, predictions_frame

REPOSITORY = Path(__file__).resolve().parents[2]
EVALUATION = "04_evaluation"
N_IMAGES = 100

MODELS = {
    # how far apart the classes are
    "02_traditional_baselines": {"metadata": 0.3, "handcrafted_logistic": 1.0},
    "03_transfer_learning": {"custom_cnn_scratch": 1.2, "vgg16_finetuned": 2.0},
}


def train(dataset: CuratedDataset, model: str, gap: float, fold: int) -> Any:
    """Store the run of a model that never saw an image."""
    spec = RunSpec(
        recipe=1,
        kind="baseline",
        model=model,
        task="pneumonia",
        dataset_digest=dataset.digest,
        folds_digest=dataset.folds.digest,
        fold=fold,
        seed=1,
    )
    table = dataset.folds.table
    label = dataset.labels("pneumonia")[dataset.index(table["image_id"].tolist())]
    noise = np.random.default_rng([len(model), fold]).normal(size=len(table))
    scores = 1 / (1 + np.exp(-noise - gap * (label - 0.5)))
    predictions = predictions_frame(
        spec,
        image_ids=table["image_id"].tolist(),
        patient_ids=table["patient_id"].tolist(),
        part=np.where(table["fold"] == fold, "test", "validation").tolist(),
        labels=label,
        scores=scores,
    )
    return RunStore().write(spec, predictions, metrics={"validation_auc": 0.8}, timings={"train_s": 1.5})


def without_training(original: Callable[..., None]) -> Callable[..., None]:
    """Executor that does the work of the first three notebooks itself: what their records need, no more."""

    def execute(notebook: Notebook, target: Path, parameters: Mapping[str, Any], last: Any) -> None:
        if notebook.name == EVALUATION:
            original(notebook, target, parameters, last)
            return
        step = Step(notebook.name, study_dir=paths.study_dir("small"))
        folder = paths.curated_dir() / "phantom_xray-0123456789ab"
        if notebook.name == "01_data_curation":
            write_dataset(folder, [f"image_{i:03d}" for i in range(N_IMAGES)])
            step.number("cohort.pneumonia.n_images", N_IMAGES)
            step.dataset(CuratedDataset.open(folder))
        else:
            dataset = CuratedDataset.open(folder)
            for model, gap in MODELS[notebook.name].items():
                step.runs(train(dataset, model, gap, fold) for fold in (0, 1))
        if notebook.name == "03_transfer_learning":
            step.number("training.pneumonia.primary.epochs", 12.0)
        step.save()
        shutil.copy(notebook.path, target)

    return execute


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose study was run and published; its evaluation is the real notebook."""
    root = tmp_path_factory.mktemp("studied")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RADTRANSFER_ROOT", str(root))
        patch.setenv("RADTRANSFER_WORK", str(root / "work"))
        project = make_project(root)
        for name in list(NOTEBOOKS)[:3]:
            project.write_notebook(name)
        given = {name: PARAMETERS[name] for name in list(NOTEBOOKS)[:3]}
        given[EVALUATION] = {"N_RESAMPLES": 500, "LEVEL": 0.95, "SEED": 1}
        project.write_profile(publishable=True, notebooks=given)
        shutil.copy(REPOSITORY / "notebooks" / f"{EVALUATION}.ipynb", root / "notebooks")
        patch.setattr(driver, "_papermill", without_training(driver._papermill))
        driver.run_study("small")
        publish("small")
    return project


@pytest.fixture
def project(studied: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A copy of that project; this process works in it."""
    shutil.copytree(studied.root, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("RADTRANSFER_ROOT", str(tmp_path))
    monkeypatch.setenv("RADTRANSFER_WORK", str(tmp_path / "work"))
    return Project(tmp_path)


@pytest.fixture
def results(project: Project) -> Path:
    """Published results of the copy."""
    return project.root / "results"


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def cover_up(results: Path) -> None:
    """Write the checksums again, as whoever alters a file might."""
    files = sorted(path for path in results.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    lines = [f"{sha256_file(path)}  {path.relative_to(results)}\n" for path in files]
    (results / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def failed(report: Verification) -> dict[str, str]:
    return {check.name: check.why for check in report.failures}


def change_number(results: Path, key: str, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads((results / "numbers.json").read_text())
    change(next(number for number in content["numbers"] if number["key"] == key))
    (results / "numbers.json").write_text(json.dumps(content))


def test_untouched_results_are_computed_again_bit_for_bit(project: Project) -> None:
    shutil.rmtree(project.root / "work")  # nothing but results/ is needed
    done = project.cli("verify", "--from-predictions", "--keep")
    assert done.returncode == 0, done.stderr
    report = read(report_path("from_predictions"))
    assert report == read(project.root / "book" / "verification" / "from_predictions.json")
    assert report.passed
    assert report.machine == {}
    assert all(check.identical for check in report.checks)
    assert {check.kind for check in report.checks} == {"results", "number", "figure", "table", "notebook"}
    assert len([check for check in report.checks if check.kind == "number"]) > 40
    # what was not computed again is told, with the reason
    assert report.kept["03_transfer_learning"] == "it needs the images, and trains for hours"
    assert EVALUATION not in report.kept
    assert not [check for check in report.checks if check.notebook == "03_transfer_learning"]
    assert "passed; numbers: " in done.stdout
    # no folder of this machine is told
    assert str(project.root) not in report_path("from_predictions").read_text()


def raise_a_digit(number: dict[str, Any]) -> None:
    number["value"] += 0.001


def widen(number: dict[str, Any]) -> None:
    number["tolerance"]["value"] *= 2


def test_what_was_altered_is_found_although_the_checksums_fit(results: Path) -> None:
    change_number(results, "cv.pneumonia.vgg16_finetuned.auc", raise_a_digit)
    change_number(results, "cv.pneumonia.metadata.specificity", widen)
    content = json.loads((results / "numbers.json").read_text())
    dropped = content["numbers"].pop(-1)["key"]
    (results / "numbers.json").write_text(json.dumps(content))
    curve = results / "figures" / "roc_curves_pneumonia.csv"
    edit(curve, curve.read_text().splitlines()[5], "0,0,0,0")
    edit(results / "figures" / "auc_by_model_pneumonia.json", "0.", "1.")
    (results / "tables" / "performance_pneumonia.csv").unlink()
    notebook = results / "notebooks" / f"{EVALUATION}.ipynb"
    edit(notebook, "</td>", "9</td>")
    cover_up(results)

    found = failed(verify_from_predictions())
    assert found["cv.pneumonia.vgg16_finetuned.auc"] == "value differs"
    assert found["cv.pneumonia.metadata.specificity"] == "tolerance differs"
    assert found[dropped] == "not published"
    assert found["figures/roc_curves_pneumonia.csv"].startswith("line 6 was '0,0,0,0' and is ")
    assert "figures/auc_by_model_pneumonia.json" in found
    assert found["tables/performance_pneumonia.csv"] == "not published"
    assert "shows something else" in found[f"notebooks/{EVALUATION}.ipynb"]
    assert len(found) == 7


def test_an_altered_prediction_is_found_although_the_checksums_fit(results: Path) -> None:
    path = results / "predictions" / "pneumonia.parquet"
    table = pd.read_parquet(path)
    row = table.index[(table["model"] == "vgg16_finetuned") & (table["part"] == "test")][0]
    table.loc[row, "score"] = 1 - table.loc[row, "score"]
    table.to_parquet(path, index=False)
    cover_up(results)

    found = failed(verify_from_predictions())
    assert found["cv.pneumonia.vgg16_finetuned.auc"].startswith("value, low, high")
    assert "figures/roc_curves_pneumonia.csv" in found
    # the models that were not touched are as published
    assert "cv.pneumonia.metadata.auc" not in found


def test_an_altered_line_of_a_metric_is_found(project: Project, results: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(Path(radtransfer.__file__).parent, changed / "radtransfer")
    metrics = changed / "radtransfer" / "evaluation" / "performance.py"
    edit(metrics, "top.sum() / max(bottom.sum(), 1)", "top.sum() / max(bottom.sum() + 1, 1)")
    done = subprocess.run(
        [sys.executable, "-m", "radtransfer", "verify", "--from-predictions"],
        env=project.environment(PYTHONPATH=str(changed)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("radtransfer: error: the results are not what the study gives: diff.pneumonia.")
    report = read(report_path("from_predictions"))
    found = failed(report)
    assert found["cv.pneumonia.vgg16_finetuned.accuracy"] == "value differs"
    assert "tables/performance_pneumonia.csv" in found
    assert "cv.pneumonia.vgg16_finetuned.auc" not in found


def test_altered_checksums_are_told(results: Path) -> None:
    edit(results / "timings.json", '"train_s": 1.5', '"train_s": 1.6')
    (check,) = verify._checksums(results)
    assert (check.state, check.why) == ("failed", "published file timings.json is altered")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda results: (results / "runs.json").unlink(), "runs.json is missing (publish again; older"),
        (lambda results: (results / "records.json").write_text("{}"), "records.json has no records"),
        (
            lambda results: edit(results / "runs.json", '"seed": 1', '"seed": 2'),
            "is not the one that its spec describes",
        ),
        (
            lambda results: edit_table(results / "cohorts" / "pneumonia.parquet", "fold", 0, 1),
            "pneumonia.parquet is not the cohort of run",
        ),
        (
            lambda results: edit_table(results / "predictions" / "pneumonia.parquet", "patient_id", 0, "p0"),
            "are of other images, patients or folds than the cohort",
        ),
        (
            lambda results: edit_table(results / "predictions" / "pneumonia.parquet", "score", 0, np.nan),
            "scores are not finite",
        ),
        (
            lambda results: (
                pd.read_parquet(results / "predictions" / "pneumonia.parquet")
                .query("fold == 0")
                .to_parquet(results / "predictions" / "pneumonia.parquet", index=False)
            ),
            "pneumonia.parquet has no rows of run",
        ),
    ],
    ids=["old results", "no records", "other spec", "other fold", "other patient", "no score", "no run"],
)
def test_files_that_contradict_each_other_are_refused(
    project: Project, results: Path, spoil: Callable[[Path], object], said: str
) -> None:
    spoil(results)
    cover_up(results)
    shutil.rmtree(project.root / "work")
    with pytest.raises(DataError) as refused:
        thaw(results, read_records(results), list(NOTEBOOKS))
    assert said in str(refused.value)


def edit_table(path: Path, column: str, row: int, value: object) -> None:
    table = pd.read_parquet(path)
    if table[column].dtype == "category":
        table[column] = table[column].astype("str")
    table.loc[row, column] = value
    table.to_parquet(path, index=False)


# --- the study executed again ---


def change_record(project: Project, notebook: str, named: str, **fields: Any) -> None:
    """Have the last run of the study come to something else."""
    path = project.study / "records" / f"{notebook}.json"
    content = json.loads(path.read_text())
    if fields:
        next(number for number in content["numbers"] if number["key"] == named).update(fields)
    else:
        content["numbers"] = [number for number in content["numbers"] if number["key"] != named]
    path.write_text(json.dumps(content))


def states(report: Verification) -> dict[str, tuple[str, str]]:
    return {check.name: (check.state, check.why) for check in report.checks if check.state != "passed"}


def test_a_run_of_the_same_bits_passes(project: Project, results: Path) -> None:
    report = verify_rerun("small", executed=True)
    assert report.passed
    assert all(check.identical for check in report.checks)
    assert report.runs is not None
    assert (report.runs.published, report.runs.same_spec, report.runs.same_predictions) == (8, 8, 8)
    # which says little, and is told: nothing was trained again
    assert report.runs.same_execution == 8
    assert str(report.runs).endswith("8 of them are the published ones themselves, not trained again")
    edit(results / "timings.json", '"train_s": 1.5', '"train_s": 1.6')
    again = verify_rerun("small", executed=True).runs
    assert again is not None
    assert again.same_execution == 7


def test_every_number_is_judged_under_its_tolerance(project: Project, results: Path) -> None:
    published = json.loads((results / "numbers.json").read_text())["numbers"]
    auc = next(n for n in published if n["key"] == "cv.pneumonia.vgg16_finetuned.auc")
    band = auc["tolerance"]["value"]
    for model, moved in {"vgg16_finetuned": 0.9, "custom_cnn_scratch": -0.9, "metadata": 1.1}.items():
        key = f"cv.pneumonia.{model}.auc"
        number = next(n for n in published if n["key"] == key)
        shift = moved * number["tolerance"]["value"]
        change_record(
            project,
            EVALUATION,
            key,
            **{name: number[name] + shift for name in ("value", "low", "high")},
        )
    assert band == pytest.approx((auc["high"] - auc["low"]) / 4, rel=1e-3)
    change_record(project, "03_transfer_learning", "training.pneumonia.primary.epochs", value=20.0)
    change_record(project, EVALUATION, "best.pneumonia.network.name", value="another")
    change_record(project, EVALUATION, "cv.pneumonia.metadata.specificity")
    change_record(
        project, EVALUATION, "cv.pneumonia.metadata.sensitivity", key="cv.pneumonia.metadata.sensitvity"
    )
    change_record(project, EVALUATION, "cv.pneumonia.metadata.f1", n={"images": 79, "patients": 80})

    change_record(project, EVALUATION, "cv.pneumonia.handcrafted_logistic.auc", value=0.01)

    report = verify_rerun("small", executed=True)
    # half of half an interval is within it
    assert [check.name for check in report.checks if check.outside] == [
        "cv.pneumonia.handcrafted_logistic.auc"
    ]
    found = states(report)
    assert found.pop("cv.pneumonia.handcrafted_logistic.auc")[0] == "failed"
    assert found.pop("cv.pneumonia.metadata.auc")[0] == "failed"
    assert found.pop("training.pneumonia.primary.epochs") == (
        "not comparable",
        "where training stops depends on the last bits, and it was not repeated with seeds",
    )
    assert found.pop("best.pneumonia.network.name") == ("failed", "it has to be the same")
    assert found.pop("cv.pneumonia.metadata.specificity") == ("missing", "not recorded again")
    assert found.pop("cv.pneumonia.metadata.sensitivity") == ("missing", "not recorded again")
    assert found.pop("cv.pneumonia.metadata.sensitvity") == ("new", "not published")
    assert found.pop("cv.pneumonia.metadata.f1")[1].startswith("it rests on other data: ")
    assert found == {}


def test_a_failed_verification_is_one_line_and_a_report(project: Project, results: Path) -> None:
    change_record(project, EVALUATION, "best.pneumonia.network.name", value="another")
    done = project.cli("verify", "--profile", "small", "--executed")
    assert done.returncode == 1
    assert done.stderr == (
        "radtransfer: error: the results are not what the study gives: best.pneumonia.network.name failed, "
        f"it has to be the same (all in {report_path('rerun')})\n"
    )
    content = json.loads(report_path("rerun").read_text())
    assert content["passed"] is False
    assert content["numbers"]["failed"] == 1
    assert "best.pneumonia.network.name" in done.stdout


def test_other_parameters_keep_numbers_from_being_compared(project: Project, results: Path) -> None:
    edit(project.study / "profile.yaml", "N_RESAMPLES: 500", "N_RESAMPLES: 600")
    change_record(project, EVALUATION, "cv.pneumonia.metadata.auc", value=0.1)
    change_record(project, EVALUATION, "cv.pneumonia.metadata.specificity")
    found = states(verify_rerun("small", executed=True))
    reason = f"other parameters: {EVALUATION}: N_RESAMPLES"
    assert found == {
        "cv.pneumonia.metadata.auc": ("not comparable", reason),
        "cv.pneumonia.metadata.specificity": ("not comparable", f"not recorded; {reason}"),
    }
    # and so do those of a step that it builds on
    edit(project.study / "profile.yaml", "N_RESAMPLES: 600", "N_RESAMPLES: 500")
    edit(project.study / "profile.yaml", "N_FOLDS: 3", "N_FOLDS: 4")
    change_record(project, EVALUATION, "cv.pneumonia.metadata.f1", value=0.1)
    found = states(verify_rerun("small", executed=True))
    assert found["cv.pneumonia.metadata.f1"][1] == "other parameters: 01_data_curation: N_FOLDS"


def test_other_weights_keep_numbers_of_their_networks_from_being_compared(
    project: Project, results: Path
) -> None:
    content = json.loads((results / "runs.json").read_text())
    for run in content["runs"]:
        if run["spec"]["model"] == "vgg16_finetuned":
            run["spec"] |= {"weights": "imagenet", "weights_digest": "ab"}
    (results / "runs.json").write_text(json.dumps(content))
    cover_up(results)
    moved = {
        "cv.pneumonia.vgg16_finetuned.auc": "not comparable",
        "diff.pneumonia.network-shortcut.auc": "not comparable",  # names no model, so that it may rest on any
        "cv.pneumonia.metadata.auc": "failed",
    }
    for key in moved:
        change_record(project, EVALUATION, key, value=0.1)
    found = states(verify_rerun("small", executed=True))
    assert {key: state for key, (state, _) in found.items()} == moved
    assert found["cv.pneumonia.vgg16_finetuned.auc"][1] == (
        "other weights: vgg16_finetuned started from none, the published one from imagenet"
    )


def test_a_notebook_can_be_left_out(project: Project, results: Path) -> None:
    with pytest.raises(InputError, match=r"04_evaluation was executed in .* \(compare it, too, or set RADT"):
        verify_rerun("small", executed=True, without=["4"])
    log = project.study / "steps.json"
    content = json.loads(log.read_text())
    del content["steps"][EVALUATION]
    log.write_text(json.dumps(content))
    change_record(project, EVALUATION, "cv.pneumonia.metadata.auc", value=0.1)
    change_record(project, "01_data_curation", "cohort.pneumonia.n_images", value=99)

    with pytest.raises(StepError, match="04_evaluation of profile 'small' has not been run"):
        verify_rerun("small", executed=True)
    report = verify_rerun("small", executed=True, without=["04"])
    assert report.kept == {EVALUATION: "it was left out"}
    # what is left out is neither passed nor missing, and the others are compared as ever
    assert {check.notebook for check in report.checks if check.kind == "number"} == {
        "01_data_curation",
        "03_transfer_learning",
    }
    assert states(report) == {"cohort.pneumonia.n_images": ("failed", "it has to be the same")}
    # for notebooks that build on it the published record stands
    laid = json.loads((project.study / "records" / f"{EVALUATION}.json").read_text())
    (published,) = (record for record in read_records(results) if record.notebook == EVALUATION)
    assert laid == published.model_dump(mode="json")


def test_older_results_without_tolerances_can_be_compared_with_a_run(project: Project, results: Path) -> None:
    (results / "runs.json").unlink()
    (results / "records.json").unlink()
    content = json.loads((results / "numbers.json").read_text())
    for number in content["numbers"]:
        number["tolerance"] = None
    (results / "numbers.json").write_text(json.dumps(content))
    cover_up(results)
    assert verify_rerun("small", executed=True).passed


def test_what_cannot_be_verified_is_refused(project: Project, results: Path) -> None:
    with pytest.raises(InputError, match="exclude each other"):
        verify.verify("small", from_predictions=True, executed=True)
    with pytest.raises(InputError, match="--without goes with an execution"):
        verify.verify("small", from_predictions=True, without=["04"])
    with pytest.raises(InputError, match="03_transfer_learning cannot be left out: others need the images"):
        verify_rerun("small", without=["03"])
    with pytest.raises(InputError, match="unknown notebook '14'"):
        verify_rerun("small", without=["14"])
    project.write_profile("another")
    with pytest.raises(
        InputError, match=r"are those of profile 'small', not of 'another' \(radtransfer verify"
    ):
        verify_rerun("another", executed=True)
    shutil.rmtree(project.study)
    with pytest.raises(StepError, match=r"'small' was not executed in .* \(leave --executed out\)"):
        verify_rerun("small", executed=True)
    shutil.rmtree(results)
    with pytest.raises(DataError, match="there are no published results"):
        verify_from_predictions()


# --- machines ---


def test_what_may_change_bits_is_told(results: Path) -> None:
    here = json.loads((results / "environment.json").read_text())["driver"]
    other = here | {"cpu": "another", "packages": here["packages"] | {"rich": "2"}, "gpus": ["G"]}
    assert verify.machine_differences(results, here) == {}
    assert verify.machine_differences(results, here | {"memory_gib": 1}) == {}
    assert verify.machine_differences(results, other) == {
        "cpu": f"{here['cpu']} -> another",
        "gpus": "none -> G",
        "packages": f"rich {here['packages']['rich']} -> 2",
    }


def test_where_digits_may_differ_rounding_passes_and_nothing_else(results: Path, tmp_path: Path) -> None:
    published = Registry.load(results).numbers
    auc, f1 = (published[f"cv.pneumonia.metadata.{key}"] for key in ("auc", "f1"))
    assert isinstance(auc.value, float)
    assert isinstance(f1.value, float)
    found = published | {
        auc.key: auc.model_copy(update={"value": auc.value * (1 + 1e-13)}),
        f1.key: f1.model_copy(update={"value": f1.value + 0.001}),
    }
    judged = compare_recomputed(published, found, bitwise=False)
    assert {check.name: check.why for check in judged if not check.identical} == {
        auc.key: "the same but for rounding",
        f1.key: "value differs",
    }
    (strict,) = [c for c in compare_recomputed(published, found, bitwise=True) if c.name == auc.key]
    assert (strict.state, strict.why) == ("failed", "value differs in the last digits")

    new = tmp_path / "new"
    shutil.copytree(results, new)
    table = new / "tables" / "performance_pneumonia.csv"
    cell = table.read_text().splitlines()[1].split(",")[-1]
    edit(table, cell, repr(float(cell) * (1 + 1e-13)))
    (new / "figures" / "roc_curves_pneumonia.png").write_bytes(b"drawn elsewhere")
    record = next(record for record in read_records(results) if record.notebook == EVALUATION)

    def differing(bitwise: bool) -> dict[str, tuple[str, str]]:
        checks = compare_files(results, new, record, record, bitwise=bitwise)
        return {check.name: (check.state, check.why) for check in checks if not check.identical}

    assert differing(bitwise=False) == {
        "tables/performance_pneumonia.csv": ("passed", "the same but for rounding"),
        "figures/roc_curves_pneumonia.png": ("not comparable", "drawn on another machine"),
    }
    assert {state for state, _ in differing(bitwise=True).values()} == {"failed"}


def test_words_and_pictures_can_be_left_out(results: Path, tmp_path: Path) -> None:
    published = Registry.load(results).numbers
    auc = published["cv.pneumonia.metadata.auc"]
    found = published | {auc.key: auc.model_copy(update={"description": "another name"})}
    (judged,) = [c for c in compare_recomputed(published, found, bitwise=True) if c.state != "passed"]
    assert (judged.name, judged.why) == (auc.key, "description differs")
    assert {c.state for c in compare_recomputed(published, found, bitwise=True, words=False)} == {"passed"}

    new = tmp_path / "new"
    shutil.copytree(results, new)
    edit(new / "figures" / "roc_curves_pneumonia.json", "caption", "Caption")
    edit(new / "tables" / "performance_pneumonia.csv", "0.", "1.")
    record = next(record for record in read_records(results) if record.notebook == EVALUATION)
    for words, wrong in (
        (True, {"figures/roc_curves_pneumonia.json", "tables/performance_pneumonia.csv"}),
        (False, {"tables/performance_pneumonia.csv"}),
    ):
        checks = compare_files(results, new, record, record, bitwise=True, words=words)
        assert {check.name for check in checks if check.state == "failed"} == wrong
    with pytest.raises(InputError, match="--data-only goes with --from-predictions"):
        verify.verify("small", data_only=True)
