"""What chapters show of every task, also of one with three classes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from radtransfer.errors import InputError
from radtransfer.evaluation.performance import Evaluation, evaluate
from radtransfer.report import evaluation as page
from radtransfer.report import statistics, training
from radtransfer.report.inputs import predictions_so_far, unit_of
from radtransfer.report.labels import primary_network, task_label
from radtransfer.report.numbers import Registry
from radtransfer.report.step import Step
from radtransfer.report.tasks import by_task

TYPES = ("glioma", "meningioma", "pituitary")
GAIN = {
    "border": 0.2,
    "handcrafted_svm": 1.0,
    "custom_cnn_scratch": 1.0,
    "mobilenet_frozen": 1.9,
    "mobilenet_finetuned": 3.0,
}


def predictions(gain: dict[str, float] = GAIN) -> pd.DataFrame:
    """Models of known order on 180 images of 90 patients in 2 folds."""
    rng = np.random.default_rng(5)
    patient = np.repeat(np.arange(90), 2)
    label = patient // 2 % 3
    frames = []
    for model, distance in gain.items():
        score = rng.normal(size=(len(label), 3)) + distance * np.eye(3)[label]
        long = pd.DataFrame(
            {
                "model": model,
                "task": "tumour",
                "target": np.tile(TYPES, len(label)),
                "image_id": np.repeat([f"i{i:03d}" for i in range(len(label))], 3),
                "patient_id": np.repeat(patient.astype(str), 3),
                "fold": np.repeat(patient % 2, 3),
                "part": "test",
                "label": np.eye(3, dtype=int)[label].ravel(),
                "score": score.ravel(),
                "weights": "imagenet" if model.startswith("mobilenet") else "none",
            }
        )
        frames += [long, long.assign(part="validation", fold=1 - long["fold"])]
    return pd.concat(frames, ignore_index=True)


@pytest.fixture(scope="module")
def evaluated() -> Evaluation:
    return evaluate(predictions(), n_resamples=500, unit="groups of similar images")


def test_the_evaluation_of_three_classes(tmp_path: Path, evaluated: Evaluation) -> None:
    step = Step("04_evaluation", study_dir=tmp_path / "tiny")
    shown = [
        page.auc_forest(step, evaluated),
        page.differences(step, evaluated),
        page.curves(step, evaluated, "roc"),
        page.curves(step, evaluated, "pr"),
        page.confusion(step, evaluated),
    ]
    table = page.performance_table(step, evaluated)
    page.record(step, evaluated)
    step.save()
    assert all("groups of similar images" in figure.caption for figure in shown[:4])
    assert "most probable class" in table.caption
    assert "each against the rest" in shown[0].caption
    confusion = pd.read_csv(tmp_path / "tiny" / "figures" / "confusion_tumour.csv")
    # nine cells for each of three models, and every image in one of them
    assert confusion.groupby("model").agg({"images": ["size", "sum"]}).to_numpy().tolist() == [[9, 180]] * 3
    assert "of 60 glioma" in shown[-1].alt

    numbers = Registry.load(tmp_path / "tiny")
    for name, low in (("network-traditional", 0.0), ("transfer-scratch", 0.0), ("finetuned-frozen", 0.0)):
        for metric in page.DIFFERENCES:
            number = numbers.get(f"diff.tumour.{name}.{metric}")
            assert number.low is not None
            assert number.low > low
            assert number.description.startswith("Tumour type, brain MRI: ")
            assert number.n == {"groups of similar images": 90, "images": 180}
    assert numbers.get("best.tumour.network.name").value == "MobileNet, fine-tuned"
    assert numbers.get("best.tumour.shortcut.name").value == "Border and brightness"


def test_the_tests_of_three_classes(tmp_path: Path, evaluated: Evaluation) -> None:
    step = Step("10_statistics", study_dir=tmp_path / "tiny")
    results = statistics.Results.of(evaluated, n_train=90)
    assert "Transfer v. scratch: 2 pairs" in statistics.matrix(step, results).alt
    for show in (
        statistics.families_table,
        statistics.auc_table,
        statistics.decisions_table,
        statistics.kappa_table,
    ):
        assert "nan" not in show(step, results).html().lower()
    statistics.record(step, results)
    step.save()
    numbers = Registry.load(tmp_path / "tiny")
    # frozen and fine-tuned both beat scratch, and one another
    assert numbers.get("tests.tumour.transfer-scratch.n_better").value == 2
    assert numbers.get("tests.tumour.finetuned-frozen.n_better").value == 1
    assert numbers.get("tests.tumour.n_folds").value == 2
    assert 0.7 < numbers.get("tests.tumour.kappa").value < 1


def test_every_task_stands_under_its_heading() -> None:
    parts = {"haemorrhage": "<p>1</p>", "one <own>": "<p>2</p>"}
    shown = by_task(parts, lambda html: SimpleNamespace(_repr_html_=lambda: html))
    assert shown._repr_html_() == (
        '<h3 class="rt-task">Haemorrhage, head CT</h3>\n<p>1</p>\n'
        '<h3 class="rt-task">one &lt;own&gt;</h3>\n<p>2</p>'
    )


def test_one_network_stands_for_transfer() -> None:
    assert primary_network(GAIN) == "mobilenet_finetuned"
    assert primary_network([*GAIN, "vgg16_finetuned"]) == "vgg16_finetuned"
    with pytest.raises(InputError, match="train one of vgg16_finetuned"):
        primary_network(["vgg16_frozen"])
    assert task_label("fracture") == "fracture"


def run(model: str, task: str = "tumour", **environment: object) -> SimpleNamespace:
    """As much of a run record as a page looks at."""
    table = predictions({model: 1.0})
    return SimpleNamespace(
        spec=SimpleNamespace(
            model=model,
            task=task,
            weights="imagenet" if model.startswith("mobilenet") else "none",
            kind="baseline" if model == "border" else "network",
            options={"input_size": 96},
        ),
        predictions=lambda: table,
        timings={"train_s": 2.0, "epochs": 4},
        metrics={"n_trainable": 10},
        environment={"weights": {"source": "a mirror"}} | environment,
    )


def test_a_baseline_that_could_not_be_fitted_is_listed(tmp_path: Path) -> None:
    step = Step("02_traditional_baselines", study_dir=tmp_path / "tiny")
    table = training.runs_table(step, [run("border")], name="runs", models=["metadata", "border"])
    assert [row[:2] for row in table.rows] == [
        ("Age, sex and view only", "0"),
        ("Border and brightness", "1"),
    ]
    stored = pd.read_csv(tmp_path / "tiny" / "tables" / "runs_tumour.csv")
    part = predictions({"border": 1.0}).query("part == 'validation'")
    assert stored["Validation AUC"].isna().tolist() == [True, False]
    assert 0.5 < stored["Validation AUC"][1] < 1
    assert len(part) == 540


def test_training_is_recorded_by_role(tmp_path: Path) -> None:
    step = Step("03_transfer_learning", study_dir=tmp_path / "tiny")
    training.record(step, [run("custom_cnn_scratch"), run("mobilenet_finetuned")])  # type: ignore[list-item]
    found = {key: number.value for key, number in step.registry().numbers.items()}
    assert found == {
        "training.tumour.primary.name": "MobileNet, fine-tuned",
        "training.tumour.primary.weights": "weights learned on ImageNet",
        "training.tumour.primary.source": "a mirror",
        "training.tumour.primary.epochs": 4.0,
        "training.tumour.scratch.epochs": 4.0,
    }


def test_groups_stand_for_unknown_patients(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    table = pd.DataFrame(
        {
            "task": ["tumour", "tumour", "pneumonia"],
            "image_id": ["a", "b", "a"],
            "patient_id": ["p", "q", "r"],
        }
    )
    runs = [SimpleNamespace(spec=SimpleNamespace(task=task)) for task in ("tumour", "pneumonia")]

    def predictions(of: list[SimpleNamespace]) -> pd.DataFrame:
        rows = table.loc[table["task"].isin([run.spec.task for run in of])]
        return rows.reset_index(drop=True)

    monkeypatch.setattr("radtransfer.report.inputs.runs_of", lambda *_: runs)
    monkeypatch.setattr("radtransfer.report.inputs.predictions_of", predictions)
    cohort = SimpleNamespace(frame=pd.DataFrame({"image_id": ["b", "a"], "group_id": ["g", "h"]}))
    datasets = {
        task: SimpleNamespace(patients_known=known, cohort=cohort)
        for task, known in (("pneumonia", True), ("tumour", False))
    }
    step = Step("04_evaluation", study_dir=tmp_path)
    found = predictions_so_far(step, datasets)  # type: ignore[arg-type]
    assert list(found) == ["pneumonia", "tumour"]
    assert found["tumour"]["patient_id"].tolist() == ["h", "g"]
    assert found["pneumonia"]["patient_id"].tolist() == ["r"]
    units = {task: unit_of(dataset) for task, dataset in datasets.items()}  # type: ignore[arg-type]
    assert units == {"pneumonia": "patients", "tumour": "groups of similar images"}
