from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from radtransfer.errors import InputError
from radtransfer.evaluation.performance import Evaluation, Performance
from radtransfer.report import statistics as page
from radtransfer.report.numbers import Registry
from radtransfer.report.step import Step
from radtransfer.stats.bootstrap import ClusterBootstrap
from radtransfer.stats.result import Estimate

GAIN = {
    "metadata": 0.0,
    "handcrafted_svm": 1.0,
    "custom_cnn_scratch": 1.0,
    "vgg16_frozen": 1.0,
    "vgg16_finetuned": 3.0,
}


def evaluation(gain: dict[str, float]) -> Evaluation:
    """Models of known order on 160 images of 80 patients in 2 folds."""
    rng = np.random.default_rng(5)
    patient = np.repeat(np.arange(80), 2)
    common = pd.DataFrame({"patient_id": patient, "fold": patient % 2, "label": patient // 2 % 2})
    models = {}
    for name, distance in gain.items():
        score = rng.normal(size=len(common)) + distance * (common["label"] - 0.5)
        table = common.assign(image_id=common.index, score=score, decision=(score > 0).astype(int))
        right = float((table["decision"] == table["label"]).mean())
        accuracy = {"accuracy": Estimate(name="accuracy", estimate=right)}
        models[name] = Performance(name, "imagenet", table, {0: 0.0, 1: 0.0}, accuracy, 0.5)
    n = {"patients": 80, "images": 160}
    return Evaluation("pneumonia", models, 0.95, n, ClusterBootstrap(patient, n_resamples=1, seed=0), {})


def test_the_page_records_what_was_planted(tmp_path: Path) -> None:
    step = Step("10_statistics", study_dir=tmp_path / "tiny")
    results = page.Results.of(evaluation(GAIN), n_train=60)
    shown = page.matrix(step, results)
    for table in (page.families_table, page.auc_table, page.decisions_table, page.kappa_table):
        assert "nan" not in table(step, results).html().lower()
    page.record(step, results)
    step.save()

    numbers = Registry.load(tmp_path / "tiny")
    families = {
        name: tuple(numbers.get(f"tests.pneumonia.{name}.n_{kind}").value for kind in ("pairs", "better"))
        for name in ("network-traditional", "network-shortcut", "transfer-scratch", "finetuned-frozen")
    }
    # the fine-tuned network alone is ahead of its equals; all three are ahead of chance
    assert families == {
        "network-traditional": (3, 1),
        "network-shortcut": (3, 3),
        "transfer-scratch": (2, 1),
        "finetuned-frozen": (1, 1),
    }
    assert numbers.get("tests.pneumonia.n_pairs").value == 9
    assert numbers.get("tests.pneumonia.smallest_p").value == 0.5
    assert "Transfer v. scratch: 2 pairs" in shown.alt
    assert "1 better, 0 worse, 1 undecided" in shown.alt
    drawn = pd.read_csv(tmp_path / "tiny" / "figures" / "test_matrix_pneumonia.csv")
    assert len(drawn) == 9
    assert (drawn["auc_holm"] >= drawn["auc_p"]).all()
    assert (drawn["significant"] == (drawn["auc_holm"] <= 0.05)).all()


def test_training_images_are_what_a_fold_leaves() -> None:
    # 10 images in the folds; 4 and 6 of them held out
    held_out = pd.DataFrame(
        {
            "model": "a",
            "fold": [0] * 4 + [1] * 6,
            "part": ["test", "validation"] * 5,
            "image_id": range(10),
        }
    )
    dataset = SimpleNamespace(folds=SimpleNamespace(table=range(10)))
    assert page.training_images(held_out, dataset) == pytest.approx(5.0)  # type: ignore[arg-type]
    # an image with a row for each of three classes is one image
    by_class = pd.concat([held_out.assign(target=target) for target in "abc"])
    assert page.training_images(by_class, dataset) == pytest.approx(5.0)  # type: ignore[arg-type]


def test_without_a_declared_pair_there_is_no_chapter() -> None:
    with pytest.raises(InputError, match="no two of the evaluated models"):
        page.Results.of(evaluation({"metadata": 0.0, "handcrafted_svm": 1.0}), n_train=60)
