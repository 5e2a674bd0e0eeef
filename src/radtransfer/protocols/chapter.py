"""All experiments of a study, from the names of their data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from radtransfer.data.phantoms import PhantomSpec
from radtransfer.data.store import CuratedDataset, curate
from radtransfer.errors import unknown_name
from radtransfer.protocols import experiments
from radtransfer.protocols.arms import Embedding, Tables

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from radtransfer.data.cohort import Cohort
    from radtransfer.protocols.experiments import Dealing, Experiment, Result


def curate_like(studied: CuratedDataset, own: Mapping[str, Any]) -> CuratedDataset:
    """Curate a dataset that the study only examines, by the parameters of one that it studies.

    Parameters
    ----------
    studied : CuratedDataset
        Whose ages, image size, folds and seed are taken.
    own : mapping
        ``dataset`` and ``task``; ``image_size`` and ``phantom`` where they differ.

    Returns
    -------
    CuratedDataset
    """
    like = studied.info["parameters"]
    common = {name: like[name] for name in ("age_min", "age_max", "test_fraction", "n_folds", "seed")}
    phantom = own.get("phantom")
    return curate(
        own["dataset"],
        task=own["task"],
        image_size=own.get("image_size", like["image_size"]),
        phantom=phantom and PhantomSpec.from_dict(phantom),
        **common,
    )


@dataclass(frozen=True)
class Collection:
    """Data that experiments are made of.

    Attributes
    ----------
    studied, examined : mapping of str to CuratedDataset
        By name; the hold-outs of the studied ones are not touched.
    embedding : Embedding
        Features of a frozen network.
    dealing : Dealing
    progress : callable of str, optional
        Told of what takes long.
    """

    studied: Mapping[str, CuratedDataset]
    examined: Mapping[str, CuratedDataset]
    embedding: Embedding
    dealing: Dealing
    progress: Callable[[str], None] | None = None

    @cached_property
    def tables(self) -> dict[str, Tables]:
        """Features by name of the data."""
        every = {**self.studied, **self.examined}
        return {name: Tables(dataset, self.embedding, self.progress) for name, dataset in every.items()}

    def part(self, name: str) -> tuple[str, Tables, Cohort]:
        """Name, features and images that are not held out."""
        if name not in self.tables:
            raise unknown_name("data", name, self.tables)
        tables = self.tables[name]
        cohort = experiments.not_held_out(tables.dataset.cohort, self.studied.values(), tables.dataset)
        return name, tables, cohort

    def measure(
        self,
        *,
        learners: Sequence[str],
        further: Mapping[str, Sequence[str]],
        n_resamples: int,
        level: float,
        seed: int,
        **which: Any,
    ) -> dict[str, list[Result]]:
        """Make every experiment and measure it with every learner.

        Parameters
        ----------
        learners : sequence of str
            Names in :data:`radtransfer.protocols.arms.LEARNERS`, for all experiments.
        further : mapping of str to sequence of str
            More of them, by name of the data.
        n_resamples, level, seed
            As for :func:`radtransfer.protocols.experiments.measure`.
        **which
            As for :meth:`experiments`.

        Returns
        -------
        dict of str to list of Result
            By name of the experiment, one a learner.
        """
        return {
            experiment.name: [
                experiments.measure(
                    experiment,
                    learner=learner,
                    n_resamples=n_resamples,
                    level=level,
                    seed=seed,
                    progress=self.progress,
                )
                for learner in (*learners, *further.get(experiment.data, ()))
            ]
            for experiment in self.experiments(**which)
        }

    def experiments(
        self,
        *,
        official: Sequence[str],
        by_image: Mapping[str, Sequence[float]],
        restricted: Mapping[str, str],
        matched: Mapping[str, str],
        elsewhere: Sequence[str],
    ) -> list[Experiment]:
        """Every experiment, in the order of the chapter.

        Parameters
        ----------
        official : sequence of str
            Data whose published split is examined.
        by_image : mapping of str to sequence of float
            Data that are dealt by image, and the correlations of similar images that stand for one patient.
        restricted : mapping of str to str
            Data to the narrower task.
        matched : mapping of str to str
            Data to the property that their classes are matched by.
        elsewhere : sequence of str
            Two collections, each tested by models of the other; or none.

        Returns
        -------
        list of Experiment
        """
        deal = self.dealing
        made = [
            # the published test part is taken as it is
            experiments.official(name, self.tables[name], self.tables[name].dataset.cohort, deal)
            for name in official
        ]
        made += [
            experiments.restricted(*self.part(name), deal, task=task) for name, task in restricted.items()
        ]
        made += [experiments.matched(*self.part(name), deal, column=by) for name, by in matched.items()]
        made += [
            experiments.by_image(*self.part(name), deal, similarities=to) for name, to in by_image.items()
        ]
        if elsewhere:
            one, other = (self.part(name) for name in elsewhere)
            made += [
                experiments.trained_elsewhere(one, other, deal),
                experiments.trained_elsewhere(other, one, deal),
            ]
        return made
