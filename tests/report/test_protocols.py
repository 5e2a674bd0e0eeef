from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pandas as pd
import pytest

from radtransfer.protocols.comparison import compare
from radtransfer.protocols.disagreement import Disagreement
from radtransfer.protocols.experiments import Experiment, Result
from radtransfer.report import protocols as page
from radtransfer.report.step import Step
from radtransfer.stats.result import Estimate


def predictions(distance: float) -> pd.DataFrame:
    """One image a patient, half of them diseased."""
    rng = np.random.default_rng(3)
    label = np.arange(120) % 2
    test = pd.DataFrame(
        {
            "model": "mobilenet_logistic",
            "task": "pneumonia",
            "image_id": [f"i{k:03d}" for k in range(120)],
            "patient_id": [f"p{k:03d}" for k in range(120)],
            "fold": np.arange(120) // 40,
            "part": "test",
            "label": label,
            "score": rng.normal(size=120) + distance * label,
            "weights": "imagenet",
        }
    )
    return pd.concat([test, test.assign(part="validation", fold=(test["fold"] + 1) % 3)])


@pytest.fixture
def step(tmp_path: Path) -> Step:
    return Step("07_leakage_and_shortcuts", study_dir=tmp_path / "tiny")


@pytest.fixture
def results() -> dict[str, list[Result]]:
    shared = {"by_image": 0.5, "similar_93": 0.25, "by_patient": 0.0}
    experiment = SimpleNamespace(
        kind="by_image",
        data="pneumonia",
        wrong="by_image",
        right="by_patient",
        unit="patients",
        modality="xray",
        shared=lambda: shared,
    )
    distances = dict(zip(shared, (2.0, 1.5, 1.0), strict=True))
    comparison = compare(
        {name: predictions(distance) for name, distance in distances.items()},
        n_resamples=100,
        level=0.9,
        seed=1,
        unit="patients",
    )
    result = Result(cast("Experiment", experiment), "mobilenet_logistic", comparison, ())
    return {"by_image-pneumonia": [result]}


def test_the_figure_draws_both_protocols_chance_and_the_paper(
    step: Step, results: dict[str, list[Result]], tmp_path: Path
) -> None:
    figure = page.opening(step, results)
    row = pd.read_csv(tmp_path / "tiny" / "figures" / "wrong_and_right.csv").iloc[0]
    arms = results["by_image-pneumonia"][0].comparison.arms
    assert row["first"] == arms["by_image"].metrics["accuracy"].estimate
    assert row["second"] == arms["by_patient"].metrics["accuracy"].estimate
    assert (row["first_mark"], row["second_mark"]) == (0.5, 0.5)
    # claim C1: 94.5 %
    assert (row["band_low"], row["band_high"]) == (0.945, 0.945)
    assert "split by image v. by patient" in figure.alt


def test_every_protocol_is_a_row_and_only_the_last_gains_nothing(
    step: Step, results: dict[str, list[Result]], tmp_path: Path
) -> None:
    assert (
        "Pneumonia, chest X-ray: split by image v. by patient"
        in page.arms_tables(step, results)._repr_html_()
    )
    table = pd.read_csv(tmp_path / "tiny" / "tables" / "protocols_by_image-pneumonia.csv")
    assert table["Share with patient in training"].tolist() == [0.5, 0.25, 0.0]
    assert table["Accuracy gained"].notna().tolist() == [True, True, False]
    assert table["Protocol"].tolist()[1] == "Groups of images that correlate by .93"


def test_groups_are_shown_with_what_they_leave(step: Step, results: dict[str, list[Result]]) -> None:
    assert "correlate by .93: 25 % leak" in page.similarity_groups(step, results).alt


def test_record_tells_the_gain_and_what_the_network_loses(
    step: Step, results: dict[str, list[Result]]
) -> None:
    accuracy = Estimate(name="Accuracy", estimate=0.8, low=0.7, high=0.9)
    networks = [
        Disagreement(model, "view", accuracy, accuracy, accuracy, accuracy)
        for model in ("vgg16_finetuned", "handcrafted_svm")
    ]
    page.record(step, results, {"pneumonia": networks})
    gain = step.registry().get("protocols.by_image-pneumonia.gain")
    comparison = results["by_image-pneumonia"][0].comparison
    assert gain.value == comparison.difference("by_image", "by_patient", "accuracy").estimate
    assert step.registry().get("misled.pneumonia.view.gap").value == 0.8
    assert page.disagreement_figure(step, {"pneumonia": networks}).alt.count("0.800 against 0.800") == 2


def test_the_paper_states_an_accuracy_for_every_kind_of_image() -> None:
    found = {
        kind: page.paper_accuracy(cast("Experiment", SimpleNamespace(modality=kind))) for kind in page.CLAIMS
    }
    # CT: between its sensitivity and its specificity
    assert found == {"xray": (0.945, 0.945), "mri": (0.912, 0.912), "ct": (0.897, 0.905)}
