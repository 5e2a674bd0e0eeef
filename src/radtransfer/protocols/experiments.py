"""Experiments of the chapter: a wrong and a right protocol on one material, and what lies between."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

import pandas as pd

from radtransfer.errors import InputError
from radtransfer.protocols.arms import Material, Tables, fit_deals
from radtransfer.protocols.comparison import Comparison, compare
from radtransfer.protocols.deals import (
    Deal,
    as_proposed,
    cross_validated,
    elsewhere,
    forget_identity,
    guess_identity,
    matched_rows,
    similar_groups,
    thinned,
)
from radtransfer.training.runs import predictions_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from radtransfer.data.cohort import Cohort
    from radtransfer.data.store import CuratedDataset
    from radtransfer.training.runs import RunRecord

Kind = Literal["by_image", "official", "restricted", "matched", "elsewhere"]

SOURCE: Final = ("dataset", "options", "files", "phantom")
"""Parameters of curation that tell whether two datasets are of the same images."""


@dataclass(frozen=True, kw_only=True)
class Dealing:
    """What all deals have in common.

    Attributes
    ----------
    n_folds : int
        Of a cross-validation.
    validation_fraction : float
        Share of images that validate.
    seed : int
    """

    n_folds: int
    validation_fraction: float
    seed: int

    def cross(self, name: str, cohort: Cohort, task: str) -> Deal:
        """Cross-validation by what a cohort says of its patients."""
        return cross_validated(
            name,
            cohort,
            task=task,
            n_folds=self.n_folds,
            validation_fraction=self.validation_fraction,
            seed=self.seed,
        )

    def once(self, task: str) -> dict[str, Any]:
        """Arguments of deals of one split."""
        return {"task": task, "validation_fraction": self.validation_fraction, "seed": self.seed}


@dataclass(frozen=True)
class Experiment:
    """Several protocols for one question.

    Attributes
    ----------
    kind : str
        Which mistake is made.
    data : str
        Name of the data.
    material : Material
    deals : tuple of Deal
        The wrong protocol first, the right one last.
    """

    kind: Kind
    data: str
    material: Material
    deals: tuple[Deal, ...]

    @property
    def name(self) -> str:
        """Part of keys: ``"by_image-pneumonia"``."""
        return f"{self.kind}-{self.data}"

    @property
    def wrong(self) -> str:
        """Name of the wrong protocol."""
        return self.deals[0].name

    @property
    def right(self) -> str:
        """Name of the right protocol."""
        return self.deals[-1].name

    @property
    def unit(self) -> str:
        """What is resampled."""
        known = all(tables.dataset.patients_known for tables in self.material.tables)
        return "patients" if known else "groups of similar images"

    @property
    def modality(self) -> str:
        """Kind of image that is tested."""
        return str(self.material.tables[-1].dataset.cohort.frame["modality"].iloc[0])

    def shared(self) -> dict[str, float]:
        """By protocol, share of test images that have an image of the same patient in training."""
        return {deal.name: deal.shared(self.material.unit) for deal in self.deals}


@dataclass(frozen=True)
class Result:
    """An experiment with one learner.

    Attributes
    ----------
    experiment : Experiment
    learner : str
    comparison : Comparison
    records : tuple of RunRecord
    """

    experiment: Experiment
    learner: str
    comparison: Comparison
    records: tuple[RunRecord, ...]


def not_held_out(cohort: Cohort, studied: Iterable[CuratedDataset], own: CuratedDataset) -> Cohort:
    """Cohort without the patients that a study of the same images holds out.

    Parameters
    ----------
    cohort : Cohort
        Of ``own``.
    studied : iterable of CuratedDataset
        Datasets of the study, whose hold-outs are still to be untouched when it is complete.
    own : CuratedDataset

    Returns
    -------
    Cohort
    """
    frame = cohort.frame
    out = pd.Series(False, index=frame.index)
    for dataset in studied:
        if all(dataset.info["parameters"][name] == own.info["parameters"][name] for name in SOURCE):
            out |= frame["image_id"].isin(dataset.holdout.ids("test"))
    for column in ("patient_id", "group_id"):
        out |= frame[column].isin(frame.loc[out, column])
    return cohort.keep(~out)


def by_image(
    data: str, tables: Tables, cohort: Cohort, dealing: Dealing, *, similarities: Sequence[float]
) -> Experiment:
    """Images are dealt as if each were a patient, by groups of similar images, and by what is known.

    What is known comes last; where that are but groups of similar images, the coarsest groups do.

    Parameters
    ----------
    data : str
        Name of the data.
    tables : Tables
    cohort : Cohort
        Images of ``tables.dataset`` that take part.
    dealing : Dealing
    similarities : sequence of float
        See :func:`radtransfer.protocols.deals.similar_groups`.
    """
    dataset = tables.dataset
    images = dataset.images[dataset.index(cohort.frame["image_id"].tolist())]
    guessed = {
        f"similar_{100 * least:.0f}": guess_identity(cohort, similar_groups(images, least))
        for least in similarities
    }
    known = {"by_patient": cohort} if dataset.patients_known else {}
    unknown = {} if dataset.patients_known else {"by_group": cohort}
    cohorts = {"by_image": forget_identity(cohort), **unknown, **guessed, **known}
    deals = tuple(dealing.cross(name, believed, dataset.task) for name, believed in cohorts.items())
    return Experiment("by_image", data, Material.of({data: tables}), deals)


def official(data: str, tables: Tables, cohort: Cohort, dealing: Dealing) -> Experiment:
    """The split that a dataset's authors propose, and the same without training images that leak.

    Between, as many training images are left out at random.
    """
    material, once = Material.of({data: tables}), dealing.once(tables.dataset.task)
    wrong = as_proposed("official", forget_identity(cohort), **once)
    right = as_proposed("official_without_leaks", cohort, repair=True, **once)
    fewer = thinned("official_fewer", wrong, right, label=material.label, seed=dealing.seed)
    return Experiment("official", data, material, (wrong, fewer, right))


def restricted(data: str, tables: Tables, cohort: Cohort, dealing: Dealing, *, task: str) -> Experiment:
    """All images, and those that a narrower task admits.

    Parameters
    ----------
    data, tables, cohort, dealing
        As for :func:`by_image`.
    task : str
        The narrower one: images with an ``exclusion_<task>`` take no part.
    """
    if f"exclusion_{task}" not in cohort.frame:
        raise InputError(f"{cohort.dataset} excludes nothing from {task}", hint="name its narrower task")
    fewer = cohort.keep(cohort.frame[f"exclusion_{task}"].isna())
    deals = (
        dealing.cross("everything", cohort, tables.dataset.task),
        dealing.cross("restricted", fewer, tables.dataset.task),
    )
    return Experiment("restricted", data, Material.of({data: tables}), deals)


def matched(data: str, tables: Tables, cohort: Cohort, dealing: Dealing, *, column: str) -> Experiment:
    """All images, and those that are left when the classes are matched by a property.

    Parameters
    ----------
    data, tables, cohort, dealing
        As for :func:`by_image`.
    column : str
        See :func:`radtransfer.protocols.deals.matched_rows`.
    """
    task = tables.dataset.task
    fewer = cohort.keep(matched_rows(cohort, task=task, column=column, seed=dealing.seed))
    deals = dealing.cross("everything", cohort, task), dealing.cross("matched", fewer, task)
    return Experiment("matched", data, Material.of({data: tables}), deals)


def trained_elsewhere(
    here: tuple[str, Tables, Cohort], there: tuple[str, Tables, Cohort], dealing: Dealing
) -> Experiment:
    """Images tested by models of their own dataset, and by a model of another.

    Parameters
    ----------
    here, there : tuple of (str, Tables, Cohort)
        Name, features and images of the dataset that the other model learns from, and of the one that is
        tested.
    dealing : Dealing
    """
    material = Material.of({here[0]: here[1], there[0]: there[1]})
    first, second = (_named(name, cohort) for name, _, cohort in (here, there))
    # both under one label: that of the first
    label = f"label_{here[1].dataset.task}"
    second = replace(second, tasks=(here[1].dataset.task,), classes={}).assign(
        **{label: there[2].labels(there[1].dataset.task)}
    )
    task = here[1].dataset.task
    deals = (
        dealing.cross("at_home", second, task),
        elsewhere("elsewhere", first, second, **dealing.once(task)),
    )
    return Experiment("elsewhere", there[0], material, deals)


def measure(
    experiment: Experiment,
    *,
    learner: str,
    n_resamples: int,
    level: float,
    seed: int,
    progress: Callable[[str], None] | None = None,
) -> Result:
    """Fit a learner under all protocols of an experiment and compare them.

    Parameters
    ----------
    experiment : Experiment
    learner : str
        Name in :data:`radtransfer.protocols.arms.LEARNERS`.
    n_resamples : int
        Resamples of patients.
    level : float
        Confidence level.
    seed : int
        Of learner and resampling.
    progress : callable of str, optional
        Told of every run that is fitted.
    """
    records = fit_deals(experiment.material, experiment.deals, learner=learner, seed=seed, progress=progress)
    comparison = compare(
        {name: predictions_of(runs) for name, runs in records.items()},
        n_resamples=n_resamples,
        level=level,
        seed=seed,
        unit=experiment.unit,
    )
    return Result(experiment, learner, comparison, tuple(run for runs in records.values() for run in runs))


def _named(name: str, cohort: Cohort) -> Cohort:
    """Cohort whose ids tell where they are from."""
    columns = ("image_id", "patient_id", "group_id")
    return cohort.assign(**{column: f"{name}:" + cohort.frame[column] for column in columns})
