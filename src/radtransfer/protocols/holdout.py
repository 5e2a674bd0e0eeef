"""The last test: what was chosen on the folds is trained once more and scored on the hold-out part."""

from __future__ import annotations

from typing import TYPE_CHECKING

from radtransfer.baselines import fit_baselines
from radtransfer.errors import unknown_name
from radtransfer.training.fit import train_all
from radtransfer.training.runs import TrainingOptions, network

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from radtransfer.data.store import CuratedDataset
    from radtransfer.training.runs import RunRecord


def score_once(
    dataset: CuratedDataset,
    models: Sequence[str],
    *,
    as_in: Sequence[RunRecord],
    progress: Callable[[str], None] | None = None,
) -> list[RunRecord]:
    """Train models on all that is not held out, as they were trained in the folds, and score what is.

    Nothing is chosen here: options, seed and share of validation patients are those of the runs on the folds.
    Runs that exist are not made again, so that the hold-out part is scored once.

    Parameters
    ----------
    dataset : CuratedDataset
    models : sequence of str
        Names of baselines and networks, each once.
    as_in : sequence of RunRecord
        Runs on the folds of the dataset, at least one of each model.
    progress : callable of str, optional
        Called with lines to show.

    Returns
    -------
    list of RunRecord
        In the order of ``models``. Fold 0 of each is the hold-out part.

    Raises
    ------
    InputError
        If a model has no run, or no image is held out.
    RunError
        If a training fails.
    """
    specs = {run.spec.model: run.spec for run in reversed(as_in)}
    for name in models:
        if name not in specs:
            raise unknown_name("model with runs", name, specs)
    final = dataset.final
    networks = [name for name in models if specs[name].kind == "network"]
    task = specs[models[0]].task
    trained = train_all(
        final,
        task=task,
        wanted=[(network(name), TrainingOptions.of(specs[name])) for name in networks],
        n_folds_used=1,
        progress=progress,
    )
    found = dict(zip(networks, trained, strict=True))
    for name in models:
        if name not in found:
            (found[name],) = fit_baselines(
                final,
                task=task,
                baselines=[name],
                validation_fraction=specs[name].options["validation_fraction"],
                seed=specs[name].seed,
                n_folds_used=1,
                progress=progress,
            )
    return [found[name] for name in models]
