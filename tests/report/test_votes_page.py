from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from planted_predictions import binary_predictions
from scipy.special import expit

from radtransfer.evaluation.performance import evaluate
from radtransfer.evaluation.voting import soft_vote
from radtransfer.report import evaluation as page
from radtransfer.report.numbers import Registry
from radtransfer.report.step import Step

NOISE = {
    "vgg16_finetuned": 2.0,
    "mobilenet_frozen": 3.0,
    "custom_cnn_scratch": 0.5,
    "handcrafted_svm": 2.0,
    "handcrafted_forest": 4.0,
    "border": 8.0,
}
"""Models and how far their scores are spread beside the truth."""


def predictions() -> pd.DataFrame:
    tables = []
    for number, (name, spread) in enumerate(NOISE.items()):
        table = binary_predictions(n_patients=80, seed=1, n_folds=2, spread=3.0)
        noise = pd.Series(range(len(table))).sample(frac=1, random_state=number).to_numpy() / len(table) - 0.5
        tables.append(table.assign(model=name, score=expit(4 * (table["score"] - 0.5) + spread * noise)))
    return pd.concat(tables, ignore_index=True)


def test_all_of_a_kind_vote_and_neither_shortcut_nor_scratch_does(tmp_path: Path) -> None:
    table = predictions()
    single = evaluate(table, n_resamples=100, seed=3)
    together = evaluate(page.with_votes(table, single), n_resamples=100, seed=3)
    assert set(together.models) == {"custom_cnn_scratch", "handcrafted_svm", *page.VOTES}
    members = ["vgg16_finetuned", "mobilenet_frozen", "handcrafted_svm", "handcrafted_forest"]
    expected = evaluate(soft_vote(table, members, name="both"), n_resamples=100, seed=3).models["both"]
    assert together.models["both"].metrics["auc"] == expected.metrics["auc"]

    step = Step("04_evaluation", study_dir=tmp_path / "tiny")
    figure = page.votes(step, {"pneumonia": together})
    step.save()
    gain = together.difference("both", "transfer", "auc").estimate
    assert f"Gain over networks alone, Pneumonia, chest X-ray: {gain:+.3f}" in figure.alt
    numbers = Registry.load(tmp_path / "tiny")
    auc = {name: performance.metrics["auc"].estimate for name, performance in together.models.items()}
    for key, (model, reference) in {
        "transfer-network": ("transfer", "custom_cnn_scratch"),
        "traditional-baseline": ("traditional", "handcrafted_svm"),
        "both-network": ("both", "custom_cnn_scratch"),
        "both-transfer": ("both", "transfer"),
        "both-traditional": ("both", "traditional"),
    }.items():
        found = numbers.get(f"vote.pneumonia.{key}.auc").value
        assert found == pytest.approx(auc[model] - auc[reference], abs=1e-4)
