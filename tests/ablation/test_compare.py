"""Levels of a factor compared from run records with planted scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from radtransfer.ablation.compare import compare_levels, gave_back, race
from radtransfer.ablation.design import Arm, Factor, Trained
from radtransfer.errors import InputError
from radtransfer.stats.paired import corrected_resampled_t
from radtransfer.training.runs import (
    NetworkSpec,
    RunRecord,
    RunSpec,
    RunStore,
    TrainingOptions,
    predictions_frame,
)

N = 120
SEEDS = (1, 2, 3)


def record(
    store: RunStore,
    name: str,
    fold: int,
    seed: int,
    *,
    signal: float,
    losses: tuple[float, ...],
    tuned: tuple[float, ...] = (),
    images: str = "",
) -> RunRecord:
    """Run whose scores hold the label with that strength."""
    spec = RunSpec(
        recipe=1, kind="network", model=name, task="pneumonia", dataset_digest="d", folds_digest="f",
        fold=fold, seed=seed, options={"signal": signal},
    )  # fmt: skip
    noise = np.random.default_rng([fold, seed])
    label = np.arange(N) % 2
    score = 1 / (1 + np.exp(-(signal * (label - 0.5) + noise.normal(size=N))))
    ids = [f"{images}{fold}-{i}" for i in range(N)]
    table = predictions_frame(
        spec,
        image_ids=ids,
        patient_ids=[f"{fold}-{i // 2}" for i in range(N)],
        part=["validation"] * (N // 4) + ["test"] * (N - N // 4),
        labels=label,
        scores=score,
    )
    return store.write(
        spec,
        table,
        history=[
            {"stage": stage, "epoch": i + 1, "loss": loss, "validation_loss": loss}
            for stage, part in (("head", losses), ("blocks", tuned))
            for i, loss in enumerate(part)
        ],
        metrics={"n_trainable": 10},
        timings={"epochs": len(losses), "train_s": 1.0, "n_train": 200, "n_test": 90},
    )


def trained(
    store: RunStore,
    label: str,
    *,
    signal: float,
    losses: tuple[float, ...] = (0.5,),
    images: str = "",
    seeds: tuple[int, ...] = SEEDS,
) -> Trained:
    arm = Arm(
        label,
        NetworkSpec(name=label, backbone="mobilenet", regime="frozen"),
        tuple(TrainingOptions(seed=seed) for seed in seeds),
    )
    runs = tuple(
        tuple(
            record(store, label, fold, seed, signal=signal, losses=losses, images=images) for fold in (0, 1)
        )
        for seed in seeds
    )
    return Trained(arm, runs)


def factor(arms: dict[str, Trained], reference: str) -> Factor:
    return Factor("start", "Start", {key: each.arm for key, each in arms.items()}, reference)


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path)


def test_a_planted_gain_is_found_and_none_is_not(store: RunStore) -> None:
    arms = {
        "weak": trained(store, "weak", signal=0.8),
        "strong": trained(store, "strong", signal=2.5),
        # the same scores as the reference, under another name
        "same": trained(store, "same", signal=0.8),
    }
    compared = compare_levels(factor(arms, "weak"), arms, n_resamples=400, level=0.95, seed=3)
    gains = compared.differences("auc")
    assert gains["strong"].low is not None
    assert gains["strong"].low > 0.1
    assert gains["strong"].p_value is not None
    assert gains["strong"].p_value < 0.01
    assert (gains["same"].estimate, gains["same"].p_value) == (0.0, 1.0)
    assert compared.n == {"patients": 90, "images": 180}
    level = compared.levels["strong"]
    assert len(set(level.values["auc"])) == len(SEEDS)
    assert level.metrics["auc"].estimate == pytest.approx(np.mean(level.values["auc"]))
    assert level.metrics["auc"].n["trainings"] == 3


def test_fewer_seeds_are_compared_with_the_first_of_the_others(store: RunStore) -> None:
    arms = {"many": trained(store, "many", signal=1), "one": trained(store, "one", signal=1, seeds=(1,))}
    compared = compare_levels(factor(arms, "many"), arms, n_resamples=100, level=0.95, seed=3)
    # the same seed gives the same scores; the mean over three would differ
    assert compared.difference("one", "many", "auc").estimate == 0


def test_levels_of_other_images_are_refused(store: RunStore) -> None:
    arms = {"a": trained(store, "a", signal=1), "b": trained(store, "b", signal=1, images="x")}
    with pytest.raises(InputError, match="different images"):
        compare_levels(factor(arms, "a"), arms, n_resamples=50, level=0.95, seed=3)


def test_the_race_goes_to_the_worse_of_the_two_best_losses(store: RunStore) -> None:
    slow = trained(store, "slow", signal=1, losses=(0.9, 0.8, 0.7, 0.6, 0.65))
    fast = trained(store, "fast", signal=1, losses=(0.7, 0.5, 0.4))
    found = race(slow, fast, level=0.95)
    # 0.6 is the best of the slow one, in its fourth epoch; the fast one is below in its second
    assert set(found.epochs) == {(4, 2)}
    assert set(found.losses) == {0.6}
    assert found.saved.estimate == pytest.approx(0.5)
    assert found.saved.low is None  # all pairs alike


def test_the_interval_of_the_race_counts_pairs_and_their_overlap(store: RunStore) -> None:
    slow = trained(store, "slow", signal=1, losses=(0.9, 0.8, 0.7, 0.6))
    fast, other = (
        trained(store, name, signal=1, losses=losses)
        for name, losses in (("fast", (0.6, 0.5)), ("other", (0.9, 0.6)))
    )
    mixed = Trained(fast.arm, (fast.runs[0], other.runs[1], fast.runs[2]))
    found = race(slow, mixed, level=0.95)
    assert found.epochs == ((4, 1), (4, 1), (4, 2), (4, 2), (4, 1), (4, 1))
    logs = np.log([1 / 4, 1 / 4, 2 / 4, 2 / 4, 1 / 4, 1 / 4])
    oracle = corrected_resampled_t(logs, n_train=200, n_test=90)
    assert oracle.high is not None
    assert found.saved.low == pytest.approx(1 - np.exp(oracle.high))
    assert found.saved.estimate == pytest.approx(1 - np.exp(logs.mean()))


def test_a_race_of_other_seeds_is_refused(store: RunStore) -> None:
    slow = trained(store, "slow", signal=1, seeds=(1, 2))
    fast = trained(store, "fast", signal=1, seeds=(2, 1))
    with pytest.raises(InputError, match="same folds and seeds"):
        race(slow, fast, level=0.95)


@pytest.mark.parametrize(
    ("tuned", "back"),
    [((), False), ((0.6, 0.5), True), ((0.6, 0.39, 0.7), False), ((0.4,), True)],
)
def test_a_run_gave_back_its_head_if_nothing_came_below_it(
    store: RunStore, tuned: tuple[float, ...], back: bool
) -> None:
    run = record(store, "one", 0, 1, signal=1, losses=(0.5, 0.4, 0.45), tuned=tuned)
    assert gave_back(run) is back


def test_levels_count_the_runs_that_gave_back_their_head(store: RunStore) -> None:
    head = trained(store, "head", signal=1)
    kept, changed = (
        tuple(
            record(store, "tuned", fold, seed, signal=1, losses=(0.5,), tuned=(loss,))
            for fold, loss in ((0, 0.6), (1, other))
        )
        for seed, other in ((1, 0.6), (2, 0.3))
    )
    tuned = Trained(head.arm, (kept, changed))
    factor = Factor("depth", "Depth", {"head": head.arm, "tuned": tuned.arm}, "head")
    found = compare_levels(factor, {"head": head, "tuned": tuned}, n_resamples=20, level=0.95, seed=1).levels
    assert (found["head"].n_given_back, found["head"].n_tuned) == (0, 0)
    assert (found["tuned"].n_given_back, found["tuned"].n_tuned) == (3, 4)
