"""The last test, end to end on phantoms."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path

import pandas as pd
import pytest

from radtransfer.baselines import fit_baselines
from radtransfer.data.phantoms import PhantomSpec
from radtransfer.data.store import CuratedDataset, curate
from radtransfer.errors import InputError
from radtransfer.protocols.holdout import score_once
from radtransfer.training.executors.units import Outcome, Tell, Unit, perform
from radtransfer.training.fit import train_networks
from radtransfer.training.runs import RunRecord, RunStore, TrainingOptions

TASK = "pneumonia"
OPTIONS = TrainingOptions(
    input_size=32, views=1, epochs=2, patience=2, batch_size=8, head_units=(8,), seed=5, label_smoothing=0.1
)
NETWORK, BASELINE = "mobilenet_frozen", "border"


@pytest.fixture
def dataset(work: Path, monkeypatch: pytest.MonkeyPatch) -> CuratedDataset:
    monkeypatch.setenv("RADTRANSFER_OFFLINE", "1")
    spec = PhantomSpec(n_patients=120, images_per_patient=1.2, size=48, auc=0.9, seed=3)
    return curate("phantom_xray", task=TASK, image_size=48, n_folds=3, seed=1, phantom=spec)


@pytest.fixture
def in_folds(dataset: CuratedDataset) -> list[RunRecord]:
    return [
        *fit_baselines(
            dataset, task=TASK, baselines=[BASELINE], validation_fraction=0.2, seed=7, n_folds_used=1
        ),
        *train_networks(dataset, task=TASK, networks=[NETWORK], options=OPTIONS, n_folds_used=1),
    ]


def test_models_are_trained_as_in_the_folds_and_score_what_was_held_out(
    dataset: CuratedDataset, in_folds: list[RunRecord]
) -> None:
    lines: list[str] = []
    network, baseline = score_once(dataset, [NETWORK, BASELINE], as_in=in_folds, progress=lines.append)
    before = {run.spec.model: run.spec for run in in_folds}
    for run in (network, baseline):
        spec = before[run.spec.model]
        assert run.spec.options == spec.options
        assert run.spec.seed == spec.seed
        assert run.spec.folds_digest != spec.folds_digest
        parts = run.predictions().groupby("part")["image_id"].agg(set)
        assert parts["test"] == set(dataset.holdout.ids("test"))
        assert parts["validation"] < set(dataset.folds.table["image_id"])
    # the pass through frozen layers that served the folds serves this, too
    assert not any("to compute" in line for line in lines)
    again: list[str] = []
    assert [
        run.spec.hash
        for run in score_once(dataset, [NETWORK, BASELINE], as_in=in_folds, progress=again.append)
    ] == [network.spec.hash, baseline.spec.hash]
    assert not again  # nothing is trained or scored a second time


def test_what_was_not_tried_in_the_folds_is_not_scored(
    dataset: CuratedDataset, in_folds: list[RunRecord]
) -> None:
    with pytest.raises(InputError, match="thumbnail32"):
        score_once(dataset, ["thumbnail32"], as_in=in_folds)


class Elsewhere:
    """Executor that knows of a unit what a worker would be told."""

    def run(self, units: Sequence[Unit], tell: Tell) -> Generator[tuple[Unit, Outcome]]:
        for unit in units:
            told = Unit.model_validate_json(unit.model_dump_json())
            yield unit, perform(told, tell, threads=None, environment={})


def test_workers_hold_out_the_same_patients(dataset: CuratedDataset, tmp_path: Path) -> None:
    here, there = (
        train_networks(
            dataset.final,
            task=TASK,
            networks=[NETWORK],
            options=OPTIONS,
            n_folds_used=1,
            store=RunStore(tmp_path / name),
            executor=executor,
        )[0]
        for name, executor in (("here", None), ("there", Elsewhere()))
    )
    assert here.spec == there.spec
    pd.testing.assert_frame_equal(here.predictions(), there.predictions())
