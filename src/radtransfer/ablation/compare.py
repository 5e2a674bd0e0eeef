"""Levels of a factor compared on the same test images, over the seeds they were trained from."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from radtransfer.errors import InputError
from radtransfer.evaluation.performance import METRICS, decide
from radtransfer.stats.auc import stratified_auc
from radtransfer.stats.bootstrap import ClusterBootstrap
from radtransfer.stats.multiplicity import adjust_p_values
from radtransfer.stats.paired import corrected_resampled_t
from radtransfer.stats.repeats import over_repeats
from radtransfer.stats.result import Estimate
from radtransfer.training.runs import predictions_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from radtransfer.ablation.design import Factor, Trained
    from radtransfer.training.runs import RunRecord

MEASURES: Final = ("auc", "accuracy")
"""Keys of :data:`radtransfer.evaluation.performance.METRICS`."""


@dataclass(frozen=True)
class Level:
    """One level of a factor.

    Attributes
    ----------
    label : str
    metrics : dict of str to Estimate
        By key of :data:`MEASURES`, mean over the trainings.
    epochs : float
        Mean number of epochs a run.
    seconds : float
        Mean training time a run, s.
    n_trainable : int
        Trained parameters.
    n_tuned : int
        Runs of more than one stage: a head, then blocks with it.
    n_given_back : int
        Those of them that changed nothing after the head (:func:`gave_back`).
    values : dict of str to tuple of float
        The measures of each training.
    samples : dict of str to array of float, shape (trainings, n_resamples)
        The same of resampled patients.
    """

    label: str
    metrics: Mapping[str, Estimate]
    epochs: float
    seconds: float
    n_trainable: int
    n_tuned: int
    n_given_back: int
    values: Mapping[str, tuple[float, ...]]
    samples: Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Compared:
    """A factor, measured.

    Attributes
    ----------
    factor : Factor
    levels : dict of str to Level
    n : dict of str to int
        Patients and images tested.
    confidence : float
        Confidence level of the intervals.
    """

    factor: Factor
    levels: Mapping[str, Level]
    n: Mapping[str, int]
    confidence: float

    def difference(self, level: str, other: str, metric: str) -> Estimate:
        """Gain of one level over another, paired by patient and by seed.

        Parameters
        ----------
        level, other : str
        metric : str
            Key of :data:`MEASURES`.

        Returns
        -------
        Estimate
            With a p-value for no difference. Of a level that was trained from fewer seeds the first seeds
            of both are compared.
        """
        first, second = self.levels[level], self.levels[other]
        repeats = min(len(first.values[metric]), len(second.values[metric]))
        return over_repeats(
            f"{METRICS[metric]}: {first.label} − {second.label}",
            np.subtract(first.values[metric][:repeats], second.values[metric][:repeats]),
            first.samples[metric][:repeats] - second.samples[metric][:repeats],
            n_clusters=next(iter(self.n.values())),
            level=self.confidence,
            null=0.0,
            n=dict(self.n),
        )

    def differences(self, metric: str) -> dict[str, Estimate]:
        """Gain of every level over the reference, p-values adjusted over the factor (Holm).

        Parameters
        ----------
        metric : str
            Key of :data:`MEASURES`.

        Returns
        -------
        dict of str to Estimate
            By level.
        """
        reference = self.factor.reference
        found = {
            level: self.difference(level, reference, metric) for level in self.levels if level != reference
        }
        adjusted = adjust_p_values(np.array([each.p_value for each in found.values()], dtype=float))
        return {
            level: replace(each, p_value=float(p), method=f"{each.method}, Holm over the factor")
            for (level, each), p in zip(found.items(), adjusted, strict=True)
        }


def compare_levels(
    factor: Factor,
    trained: Mapping[str, Trained],
    *,
    n_resamples: int,
    level: float,
    seed: int,
    unit: str = "patients",
) -> Compared:
    """Measure all levels of a factor on the same test images.

    Parameters
    ----------
    factor : Factor
    trained : mapping of str to Trained
        By level.
    n_resamples : int
        Resamples of patients, the same for all levels and seeds.
    level : float
        Confidence level.
    seed : int
        Of the resampling.
    unit : str
        What ``patient_id`` names.

    Returns
    -------
    Compared

    Raises
    ------
    InputError
        If two levels were not tested on the same images.
    """
    bootstrap: ClusterBootstrap | None = None
    images: list[str] = []
    levels: dict[str, Level] = {}
    n: dict[str, int] = {}
    for key, arm in trained.items():
        values: dict[str, list[float]] = {metric: [] for metric in MEASURES}
        samples: dict[str, list[NDArray[np.float64]]] = {metric: [] for metric in MEASURES}
        for runs in arm.runs:
            decided = decide(predictions_of(runs))
            table = decided.table
            if bootstrap is None:
                images = table["image_id"].tolist()
                clusters = table["patient_id"].to_numpy()
                bootstrap = ClusterBootstrap(clusters, n_resamples=n_resamples, seed=seed)
                n = {unit: bootstrap.n_clusters, "images": len(images)}
            elif table["image_id"].tolist() != images:
                raise InputError(f"{factor.title}: levels were tested on different images")
            fold = table["fold"].to_numpy()
            right = (table["label"] == table["decision"]).to_numpy(dtype=float)
            values["accuracy"].append(float(right.mean()))
            samples["accuracy"].append(bootstrap.ratio(right, np.ones(len(right))))
            values["auc"].append(
                float(np.mean([stratified_auc(*each, stratum=fold).estimate for each in decided.questions]))
            )
            drawn = [bootstrap.auc(*each, groups=fold, weighting="pairs") for each in decided.questions]
            samples["auc"].append(np.mean(drawn, axis=0))
        records = [record for runs in arm.runs for record in runs]
        stacked = {metric: np.stack(each) for metric, each in samples.items()}
        levels[key] = Level(
            label=arm.arm.label,
            metrics={
                metric: over_repeats(
                    METRICS[metric],
                    values[metric],
                    stacked[metric],
                    n_clusters=n[unit],
                    level=level,
                    bounds=(0.0, 1.0),
                    n=n,
                )
                for metric in MEASURES
            },
            epochs=float(np.mean([record.timings["epochs"] for record in records])),
            seconds=float(np.mean([record.timings["train_s"] for record in records])),
            n_trainable=int(records[0].metrics["n_trainable"]),
            n_tuned=sum(len(_stages(record)) > 1 for record in records),
            n_given_back=sum(gave_back(record) for record in records),
            values={metric: tuple(each) for metric, each in values.items()},
            samples=stacked,
        )
    return Compared(factor, levels, n, level)


@dataclass(frozen=True)
class Race:
    """Two starts of one network, by the epochs that each needs to the same validation loss.

    Attributes
    ----------
    saved : Estimate
        Share of the epochs that the second start saves, from the mean of the logarithms of the ratios.
    epochs : tuple of (int, int)
        By run, epochs of the first and of the second start.
    losses : tuple of float
        The loss that both reach, by run.
    """

    saved: Estimate
    epochs: tuple[tuple[int, int], ...]
    losses: tuple[float, ...]


def race(slow: Trained, fast: Trained, *, level: float) -> Race:
    """Epochs to a validation loss that both starts reach: the worse of their two best ones.

    An epoch is the same work for both, so that a share of epochs is a share of training time. Each fold
    and seed is a pair; the t interval of the mean logarithm is corrected for the training images that the
    folds share (:func:`radtransfer.stats.paired.corrected_resampled_t`).

    Parameters
    ----------
    slow, fast : Trained
        Of the same folds and seeds, of networks whose epochs are equal work.
    level : float
        Confidence level.

    Returns
    -------
    Race

    Raises
    ------
    InputError
        If their folds or seeds differ.
    """
    pairs = list(
        zip(
            (record for runs in slow.runs for record in runs),
            (record for runs in fast.runs for record in runs),
            strict=True,
        )
    )
    if any((a.spec.fold, a.spec.seed) != (b.spec.fold, b.spec.seed) for a, b in pairs):
        raise InputError("the two starts were not trained on the same folds and seeds")
    losses = tuple(max(_best(a), _best(b)) for a, b in pairs)
    epochs = tuple(
        (_epochs_to(a, loss), _epochs_to(b, loss)) for (a, b), loss in zip(pairs, losses, strict=True)
    )
    logs = [math.log(second / first) for first, second in epochs]
    sizes = pairs[0][0].timings
    name = "share of the training time saved"
    n = {"pairs of trainings": len(pairs)}
    if len(set(logs)) == 1:
        # a few epochs all in all
        saved = Estimate(
            name=name, estimate=1 - math.exp(logs[0]), level=level, method="all pairs are alike", n=n
        )
    else:
        mean = corrected_resampled_t(logs, n_train=sizes["n_train"], n_test=sizes["n_test"], level=level)
        assert mean.low is not None
        assert mean.high is not None
        saved = replace(
            mean,
            name=name,
            estimate=1 - math.exp(mean.estimate),
            low=1 - math.exp(mean.high),
            high=1 - math.exp(mean.low),
            method=f"geometric mean of ratios of epochs, {mean.method}",
            n=n,
            details={},
        )
    return Race(saved, epochs, losses)


def gave_back(record: RunRecord) -> bool:
    """Whether the last of several stages never came below the validation loss that it began with.

    Such a run ends with the weights of the stage before.

    Parameters
    ----------
    record : RunRecord

    Returns
    -------
    bool
        False of a run of one stage.
    """
    *before, last = _stages(record).values()
    return bool(before) and last >= min(before)


def _stages(record: RunRecord) -> dict[str, float]:
    """Least validation loss of each stage, in their order."""
    least: dict[str, float] = {}
    for epoch in record.history:
        stage, loss = epoch["stage"], float(epoch["validation_loss"])
        least[stage] = min(least.get(stage, loss), loss)
    return least


def _best(record: RunRecord) -> float:
    return float(min(epoch["validation_loss"] for epoch in record.history))


def _epochs_to(record: RunRecord, loss: float) -> int:
    """Epochs until the validation loss is no more than that."""
    return next(
        number for number, epoch in enumerate(record.history, start=1) if epoch["validation_loss"] <= loss
    )
