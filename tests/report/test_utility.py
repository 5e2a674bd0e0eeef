"""The chapter on clinical use: what it shows is what the analyses found."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from planted_predictions import binary_predictions, class_predictions

from radtransfer.atomic import write_json
from radtransfer.errors import StepError
from radtransfer.report import deployment
from radtransfer.report import utility as page
from radtransfer.report.step import Step
from radtransfer.stats.result import Estimate
from radtransfer.utility.assumptions import load_assumptions

MODELS = {"vgg16_finetuned": 1.0, "handcrafted_svm": 0.5, "handcrafted_forest": 3.0}
SETTINGS = page.Settings(n_resamples=100, level=0.95, seed=1, sensitivity=0.9, specificity=0.9, alpha=0.1)


def predictions(kind: str) -> pd.DataFrame:
    """The network, a good and a poor baseline on the same images."""
    rng = np.random.default_rng(0)
    table = (
        binary_predictions(n_patients=40, seed=1)
        if kind != "tumour"
        else class_predictions(n_patients=60, seed=1)
    )
    noise = rng.random(len(table))
    return pd.concat(
        [
            table.assign(model=model, task=kind, score=(table["score"] + spread * noise) / (1 + spread))
            for model, spread in MODELS.items()
        ],
        ignore_index=True,
    )


def run(model: str, table: pd.DataFrame) -> SimpleNamespace:
    return SimpleNamespace(
        spec=SimpleNamespace(task=table["task"].iloc[0], model=model, options={"views": 4}),
        predictions=lambda: table.loc[table["model"] == model],
        timings={"prefix_s": 500.0, "train_s": 100.0, "predict_s": 2.0, "n_validation": 10.0, "n_test": 30.0},
    )


def dataset(table: pd.DataFrame) -> SimpleNamespace:
    """With boxes on the positive images of the haemorrhage task."""
    images = table.drop_duplicates("image_id")
    side = np.random.default_rng(2).uniform(10, 100, len(images))
    boxed = (images["label"] == 1) & (images["task"] == "haemorrhage")
    frame = images[["image_id"]].assign(
        **{
            f"bbox_{name}": pd.Series(side, index=images.index).where(boxed).astype("Float64")
            for name in ("width", "height")
        }
    )
    return SimpleNamespace(
        task=table["task"].iloc[0],
        cohort=SimpleNamespace(frame=frame),
        folds=SimpleNamespace(table=images.head(50)),
    )


def results_of(kind: str) -> page.Results:
    table = predictions(kind)
    runs = [run(model, table) for model in MODELS]
    return page.Results.of(table, dataset(table), runs, load_assumptions(), SETTINGS)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def results() -> dict[str, page.Results]:
    return {kind: results_of(kind) for kind in ("pneumonia", "haemorrhage", "tumour", "nodule")}


@pytest.fixture
def step(tmp_path: Path) -> Step:
    step = Step("12_clinical_utility", study_dir=tmp_path / "tiny")
    reader = {"level": 0.95, "notebook": "09_reader_study", "low": 0.6, "high": 0.8, "value": 0.7}
    numbers = [{"key": f"readers.rules.reader.{name}", **reader} for name in ("sensitivity", "specificity")]
    write_json(step.study_dir / "records" / "09_reader_study.json", {"numbers": numbers})
    return step


def test_the_better_baseline_stands_beside_the_network(results: dict[str, page.Results]) -> None:
    for result in results.values():
        assert result.cases["network"].model == "vgg16_finetuned"
        assert result.cases["traditional"].model == "handcrafted_svm"


def test_all_figures_of_a_task(step: Step, results: dict[str, page.Results]) -> None:
    for result in results.values():
        page.operating_points(step, result)
        page.threshold_explorer(step, result)
        page.reliability(step, result)
        page.calibration_table(step, result)
        page.risk_coverage(step, result)
        page.conformal_table(step, result)
        page.record(step, result)
    for result in page.decided(results).values():
        page.decision_curves(step, result)
    numbers = step.registry()
    drawn = pd.read_csv(step.study_dir / "figures" / "utility_decision_pneumonia.csv")
    assert set(drawn["label"]) == {
        "VGG16, fine-tuned",
        "Handcrafted features, SVM",
        "Treat all",
        "Treat none",
    }
    # at the smallest threshold treating all finds nearly everybody: 50 of 1,000
    assert drawn.query("label == 'Treat all'")["y"].max() == pytest.approx(
        1000 * (0.05 - 0.95 * 0.005 / 0.995)
    )
    assert numbers.get("utility.points.pneumonia.sensitivity").value == pytest.approx(
        results["pneumonia"].points["network"]["sensitivity"].sensitivity.estimate
    )
    assert "utility.points.nodule.ppv" not in numbers  # nobody says how frequent it is
    assert "utility.benefit.nodule.network" not in numbers
    assert "utility.lesions.haemorrhage.small_gain" in numbers
    assert "utility.lesions.pneumonia.small" not in numbers


def test_the_opening_figure_counts_in_perfect_decisions(step: Step, results: dict[str, page.Results]) -> None:
    page.benefit_forest(step, results)
    rows = pd.read_csv(step.study_dir / "figures" / "utility_benefit.csv")
    assert set(rows["task"]) == {"pneumonia", "haemorrhage", "tumour"}
    assert (rows["estimate"] <= 100).all()
    row = rows.query("task == 'haemorrhage' and group == 'Network'").iloc[0]
    # treating all slices is worth .206 - .794/19; perfect decisions .206
    most = 0.206 - (0.206 - 0.794 * 0.05 / 0.95)
    assert row["per_1000"] / 1000 / most * 100 == pytest.approx(row["estimate"])


def test_without_a_prevalence_there_is_no_opening_figure(
    step: Step, results: dict[str, page.Results]
) -> None:
    with pytest.raises(StepError, match="no task"):
        page.benefit_forest(step, {"nodule": results["nodule"]})


def test_lesions_are_drawn_where_boxes_are(step: Step, results: dict[str, page.Results]) -> None:
    assert list(page.with_lesions(results)) == ["haemorrhage"]
    page.lesion_forest(step, results["haemorrhage"])
    rows = pd.read_csv(step.study_dir / "figures" / "utility_lesions_haemorrhage.csv")
    assert len(rows) == 6
    assert rows.groupby("group")["lesions"].sum().nunique() == 1


def test_seconds_of_computing() -> None:
    table = predictions("pneumonia")
    runs = [run("vgg16_finetuned", table)]
    # 500 s for five views of 50 images, and 2 s for 40 predictions
    per_image, training = deployment.seconds(runs, dataset(table))  # type: ignore[arg-type]
    assert per_image == pytest.approx(500 / 250 + 2 / 40)
    assert training == 600


def test_queue_and_costs(step: Step, results: dict[str, page.Results]) -> None:
    table = predictions("pneumonia")
    result = results["pneumonia"]
    queue = deployment.Queue.of(result, n_studies=500, n_replicates=4)
    assert queue.work.sensitivity == result.points["network"]["specificity"].sensitivity.estimate
    shown = deployment.queue_figure(step, queue)
    assert shown.data["specificity"] == queue.work.specificity
    deployment.queue_table(step, queue)
    found = deployment.Costs.of(
        step,
        result,
        dataset(table),
        [run(model, table) for model in MODELS],
        n_draws=200,  # type: ignore[arg-type, list-item]
    )
    assert found.base.reader_sensitivity == 0.7
    assert found.base.reading_cost == load_assumptions()["costs.reading_cost"].value
    assert found.base.compute_seconds == pytest.approx(2.05)
    deployment.costs_table(step, found)
    deployment.tornado(step, found)
    deployment.costs_plane(step, found)
    deployment.assumptions_table(step, load_assumptions())
    deployment.record_queue(step, queue)
    deployment.record_costs(step, found)
    step.save()
    saving = step.registry().get("utility.costs.saving")
    assert saving.n == {"draws": 200}
    assert saving.low is not None
    drawn = pd.read_csv(step.study_dir / "figures" / "utility_tornado.csv")
    assert set(drawn["input"]) == set(deployment.INPUT_LABELS)


def test_scaled_estimate() -> None:
    moved = page.scaled(Estimate(name="x", estimate=2.0, low=1.0, high=3.0), factor=10, shift=1)
    assert (moved.estimate, moved.low, moved.high) == (21, 11, 31)
    assert page.scaled(Estimate(name="x", estimate=2.0), factor=10).low is None
