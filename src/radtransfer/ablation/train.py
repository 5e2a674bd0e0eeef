"""Training of all arms: what several factors share is trained once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from radtransfer.ablation.design import Base, Trained, all_arms
from radtransfer.models.registry import backbone
from radtransfer.models.weights import obtain_weights
from radtransfer.training.fit import train_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from radtransfer.ablation.design import Factor
    from radtransfer.data.store import CuratedDataset
    from radtransfer.training.runs import NetworkSpec, RunRecord, RunStore, TrainingOptions


def base_of(
    name: str,
    options: TrainingOptions,
    *,
    whole_learning_rate: float,
    n_seeds: int,
    fine_tuned: int,
) -> Base:
    """What all arms have in common, from a backbone of the registry.

    Parameters
    ----------
    name : str
        Key of :data:`radtransfer.models.registry.BACKBONES`.
    options : TrainingOptions
        Its seed is the first; the others follow it.
    whole_learning_rate : float
    n_seeds : int
    fine_tuned : int

    Returns
    -------
    Base
        Says whether ImageNet's weights can be had.

    Raises
    ------
    InputError
        If there is no such backbone.
    """
    parts = backbone(name)
    found = obtain_weights(parts).kind == "imagenet"
    return Base(
        backbone=name,
        blocks=tuple(block for block, _ in parts.blocks),
        options=options,
        whole_learning_rate=whole_learning_rate,
        seeds=tuple(range(options.seed, options.seed + n_seeds)),
        fine_tuned=fine_tuned,
        start="ImageNet" if found else "Random numbers, for want of ImageNet",
    )


def train_factors(
    dataset: CuratedDataset,
    factors: Iterable[Factor],
    *,
    task: str,
    n_folds_used: int | None,
    sources: Mapping[str, RunRecord] | None = None,
    store: RunStore | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, dict[str, Trained]]:
    """Train all arms of all factors on one dataset.

    Parameters
    ----------
    dataset, task, n_folds_used, sources, store, progress
        As for :func:`radtransfer.training.fit.train_all`.
    factors : iterable of Factor

    Returns
    -------
    dict of str to dict of str to Trained
        By factor and level.
    """
    factors = tuple(factors)
    wanted: dict[tuple[NetworkSpec, TrainingOptions], None] = {}
    for arm in all_arms(factors):
        wanted |= {(arm.network, options): None for options in arm.options}
    records = train_all(
        dataset,
        task=task,
        wanted=list(wanted),
        n_folds_used=n_folds_used,
        sources=sources,
        store=store,
        progress=progress,
    )
    per_job = len(records) // len(wanted)
    runs = {
        job: tuple(records[number * per_job : (number + 1) * per_job]) for number, job in enumerate(wanted)
    }
    return {
        factor.key: {
            level: Trained(arm, tuple(runs[arm.network, options] for options in arm.options))
            for level, arm in factor.arms.items()
        }
        for factor in factors
    }


def records_of(trained: Mapping[str, Mapping[str, Trained]], *further: RunRecord) -> list[RunRecord]:
    """All run records, each once.

    Parameters
    ----------
    trained : mapping of str to mapping of str to Trained
        By factor and level.
    *further : RunRecord
        Other records.
    """
    found = {record.spec.hash: record for record in further}
    for arms in trained.values():
        for arm in arms.values():
            found |= {record.spec.hash: record for runs in arm.runs for record in runs}
    return list(found.values())


def medical_source(
    dataset: CuratedDataset,
    base: Base,
    *,
    task: str,
    store: RunStore | None = None,
    progress: Callable[[str], None] | None = None,
) -> RunRecord:
    """The base's network trained from random numbers on another dataset, to start from.

    Parameters
    ----------
    dataset : CuratedDataset
    base : Base
    task : str
        What it learns there.
    store, progress
        As for :func:`train_factors`.

    Returns
    -------
    RunRecord
        Of the first fold and seed.
    """
    (options, *_) = base.arm("", base.scratch).options
    (record,) = train_all(
        dataset,
        task=task,
        wanted=[(base.scratch, options)],
        n_folds_used=1,
        store=store,
        progress=progress,
    )
    return record
