"""Leaks and shortcuts that were planted in phantoms: the wrong protocol sees them, the right one does not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from radtransfer.data.duplicates import find_duplicates, join_groups
from radtransfer.data.phantoms import PhantomSpec, generate
from radtransfer.protocols import experiments
from radtransfer.protocols.arms import Embedding, Tables
from radtransfer.protocols.experiments import Dealing, Experiment, Result, measure
from radtransfer.stats.result import Estimate

DEALING = Dealing(n_folds=3, validation_fraction=0.15, seed=1)


def limits(estimate: Estimate) -> tuple[float, float]:
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.low, estimate.high


def tables(spec: PhantomSpec) -> Tables:
    """Phantoms as a curated dataset would hold them; nothing but thumbnails is taken of their pixels."""
    phantoms = generate(spec)
    duplicates = find_duplicates(phantoms.images)
    frame = phantoms.cohort.frame
    cohort = phantoms.cohort.assign(
        group_id=join_groups(frame["image_id"].tolist(), frame["group_id"].tolist(), duplicates.pairs)
    )
    dataset = SimpleNamespace(
        cohort=cohort,
        images=phantoms.images,
        task=spec.task,
        digest=str(spec),
        patients_known=True,
        labels=lambda task: cohort.labels(task).to_numpy(dtype=np.int64),
        index=lambda ids: cohort.frame.set_index("image_id").index.get_indexer(ids),
    )
    return Tables(dataset, Embedding(lambda _: np.empty(0), "none", "", 32))  # type: ignore[arg-type]


def by_image(spec: PhantomSpec) -> Experiment:
    made = tables(spec)
    return experiments.by_image("phantom", made, made.dataset.cohort, DEALING, similarities=())


def measured(experiment: Experiment, learner: str) -> Result:
    return measure(experiment, learner=learner, n_resamples=500, level=0.95, seed=1)


@pytest.mark.parametrize("seed", [5, 6])
def test_images_of_one_patient_lift_the_auc_above_what_is_possible(work: Path, seed: int) -> None:
    spec = PhantomSpec(n_patients=40, images_per_patient=10, size=32, auc=0.6, seed=seed)
    found = measured(by_image(spec), "thumbnail32").comparison
    # no observer of one image can expect more than the planted AUC
    assert limits(found.arms["by_image"].metrics["auc"])[0] > spec.auc
    assert limits(found.arms["by_patient"].metrics["auc"])[0] < spec.auc
    assert limits(found.difference("by_image", "by_patient", "auc"))[0] > 0


def test_where_every_patient_has_one_image_nothing_is_gained(work: Path) -> None:
    spec = PhantomSpec(modality="mri", n_patients=200, images_per_patient=1, size=48, auc=0.8, seed=6)
    experiment = by_image(spec)
    assert set(experiment.shared().values()) == {0.0}
    gain = measured(experiment, "thumbnail32").comparison.difference("by_image", "by_patient", "auc")
    low, high = limits(gain)
    assert low < 0 < high


@pytest.mark.parametrize("planted", [0.5, 0.0])
def test_a_mark_of_the_hospital_is_worth_nothing_once_classes_are_matched(work: Path, planted: float) -> None:
    spec = PhantomSpec(n_patients=240, images_per_patient=1, size=48, auc=0.6, site_shortcut=planted, seed=7)
    made = tables(spec)
    experiment = experiments.matched("phantom", made, made.dataset.cohort, DEALING, column="site")
    found = measured(experiment, "metadata").comparison
    low, high = limits(found.difference("everything", "matched", "auc"))
    assert low > 0.1 if planted else low < 0 < high
    low, high = limits(found.arms["matched"].metrics["auc"])
    assert low < 0.5 < high


def test_runs_are_kept_and_tell_their_protocol(work: Path) -> None:
    spec = PhantomSpec(n_patients=60, images_per_patient=2, size=32, auc=0.9, seed=8)
    experiment, told = by_image(spec), list[str]()
    options = {"learner": "border", "n_resamples": 100, "level": 0.95, "seed": 1, "progress": told.append}
    first = measure(experiment, **options)  # type: ignore[arg-type]
    assert len(told) == 6
    again = measure(by_image(spec), **options)  # type: ignore[arg-type]
    assert len(told) == 6
    assert [run.spec.hash for run in first.records] == [run.spec.hash for run in again.records]
    assert [run.spec.options["protocol"] for run in first.records] == ["by_image"] * 3 + ["by_patient"] * 3
    # predictions name the patients that are, not those that the protocol believed in
    assert set(first.records[0].predictions()["patient_id"]) <= set(experiment.material.unit.values())
