from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from planted_predictions import binary_predictions
from scipy.special import expit

from radtransfer.evaluation.performance import Evaluation, evaluate
from radtransfer.report import holdout as page
from radtransfer.report.numbers import Registry
from radtransfer.report.step import Step

NOISE = {"vgg16_finetuned": 0.5, "mobilenet_frozen": 0.1, "handcrafted_svm": 2.0, "border": 8.0}
"""Models and how far their scores are spread beside the truth: MobileNet is the best."""


def evaluation(models: dict[str, float], *, n_folds: int, prefix: str = "", seed: int) -> Evaluation:
    tables = []
    for name, spread in models.items():
        table = binary_predictions(n_patients=60, seed=seed, n_folds=n_folds, spread=3.0)
        noise = pd.Series(range(len(table))).sample(frac=1, random_state=1).to_numpy() / len(table) - 0.5
        score = expit(4 * (table["score"] - 0.5) + spread * noise)
        ids = {column: prefix + table[column] for column in ("image_id", "patient_id")}
        tables.append(table.assign(model=name, score=score, **ids))
    return evaluate(pd.concat(tables, ignore_index=True), n_resamples=200, seed=seed)


@pytest.fixture(scope="module")
def folds() -> Evaluation:
    return evaluation(NOISE | {"thumbnail32": 20.0, "handcrafted_logistic": 9.0}, n_folds=2, seed=1)


@pytest.fixture(scope="module")
def held_out() -> Evaluation:
    return evaluation(NOISE, n_folds=1, prefix="held ", seed=2)


def test_models_are_chosen_by_what_was_seen_before(folds: Evaluation) -> None:
    assert page.chosen(folds) == {
        "transfer": "vgg16_finetuned",
        "network": "mobilenet_frozen",
        "traditional": "handcrafted_svm",
        "shortcut": "border",
    }


def test_the_page_tells_both_sides(tmp_path: Path, folds: Evaluation, held_out: Evaluation) -> None:
    step = Step("06_holdout", study_dir=tmp_path / "tiny")
    figure = page.before_and_after(step, {"pneumonia": folds}, {"pneumonia": held_out})
    before, after = (each.models["border"].metrics["auc"].estimate for each in (folds, held_out))
    assert f"best shortcut: {before:.3f} and {after:.3f}." in figure.alt
    table = page.performance_table(step, held_out).html()
    assert "60 patients and 120 images" in table
    page.record(step, folds, held_out)
    step.save()

    def value(key: str) -> float:
        found = Registry.load(tmp_path / "tiny").get(f"holdout.pneumonia.{key}").value
        assert isinstance(found, float)
        return found

    auc = {name: model.metrics["auc"].estimate for name, model in held_out.models.items()}
    assert value("network.auc") == pytest.approx(auc["mobilenet_frozen"])
    assert value("transfer-shortcut.auc") == pytest.approx(auc["vgg16_finetuned"] - auc["border"])
    assert value("change.auc") == pytest.approx(
        auc["vgg16_finetuned"] - folds.models["vgg16_finetuned"].metrics["auc"].estimate
    )


def test_a_model_of_two_roles_is_shown_once(tmp_path: Path) -> None:
    models = {"vgg16_finetuned": 0.1, "handcrafted_svm": 2.0, "border": 8.0}
    folds = evaluation(models, n_folds=2, seed=1)
    step = Step("06_holdout", study_dir=tmp_path / "tiny")
    figure = page.before_and_after(
        step,
        {"pneumonia": folds},
        {"pneumonia": evaluation(models, n_folds=1, prefix="held ", seed=2)},
    )
    assert figure.alt.count("VGG16") == 1
    assert "stands for transfer learning, best network" in figure.alt
