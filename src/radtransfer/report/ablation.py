"""Figures, tables and numbers of the ablation chapter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from radtransfer.evaluation.performance import METRICS
from radtransfer.report import figures
from radtransfer.report.labels import task_label
from radtransfer.report.numbers import format_number
from radtransfer.report.tasks import ByTask
from radtransfer.report.training import WEIGHTS_KIND
from radtransfer.stats.auc import clustered_auc

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from radtransfer.ablation.compare import Compared, Race
    from radtransfer.ablation.design import Trained
    from radtransfer.report.step import Figure, Step
    from radtransfer.report.tables import Table
    from radtransfer.stats.result import Estimate
    from radtransfer.training.runs import RunRecord

J_PER_KWH: Final = 3.6e6


def _p_value(gain: Estimate | None) -> str | None:
    return None if gain is None or gain.p_value is None else format_number(gain.p_value, unit="p")


def factor_table(step: Step, compared: Compared) -> Table:
    """Levels of a factor: measures, gain over the reference, work and size."""
    gains = compared.differences("auc")
    rows = [
        {
            compared.factor.title: level.label,
            METRICS["auc"]: level.metrics["auc"],
            METRICS["accuracy"]: level.metrics["accuracy"],
            "Gain in AUC": gains.get(key),
            "p (Holm)": _p_value(gains.get(key)),
            "Trainings": len(level.values["auc"]),
            "Trained parameters": level.n_trainable,
            "Epochs": level.epochs,
            "Seconds a fold": level.seconds,
        }
        | ({"Head given back": f"{level.n_given_back} of {level.n_tuned}"} if level.n_tuned else {})
        for key, level in compared.levels.items()
    ]
    reference = compared.levels[compared.factor.reference].label
    return step.table(
        f"ablation_{compared.factor.key}",
        pd.DataFrame(rows),
        caption=(
            f"{compared.factor.title}: cross-validated measures with {compared.confidence:.0%} intervals for "
            "the spread of patients and, where there are several trainings, of trainings. Gain over: "
            f"{reference}."
        ),
    )


def factor_tables(step: Step, compared: Sequence[Compared]) -> ByTask:
    """One table a factor, each under its title."""
    return ByTask({each.factor.title: factor_table(step, each) for each in compared})


def gains_forest(step: Step, name: str, compared: Sequence[Compared]) -> Figure:
    """Gain in AUC of every level of several factors over their references."""
    rows = [
        {
            "label": level.label,
            "group": each.factor.title,
            "estimate": gain.estimate,
            "low": np.nan if gain.low is None else gain.low,
            "high": np.nan if gain.high is None else gain.high,
            "p": gain.p_value,
        }
        for each in compared
        for key, gain in each.differences("auc").items()
        for level in (each.levels[key],)
    ]
    data = pd.DataFrame(rows)
    confidence = compared[0].confidence
    references = "; ".join(
        f"{each.factor.title}: {each.levels[each.factor.reference].label}" for each in compared
    )
    return step.figure(
        name,
        figures.forest(data, xlabel=f"Gain in AUC ({confidence:.0%} CI)", reference=0.0),
        alt=(
            "Forest plot of the gain in AUC over the reference of each factor. "
            + "; ".join(f"{row.group}, {row.label}: {row.estimate:+.3f}" for row in data.itertuples())
            + "."
        ),
        caption=f"Gain in AUC over the reference, at the dashed line. References: {references}.",
        data=data,
    )


def loss_by_epoch(step: Step, starts: Mapping[str, Trained], race: Race) -> Figure:
    """Validation loss by epoch of the two starts, each training a line."""
    rows = [
        {
            "label": arm.arm.label,
            "fold": 1000 * number + run.spec.fold,
            "seed": run.spec.seed,
            "epoch": entry + 1,
            "loss": epoch["loss"],
            "validation_loss": epoch["validation_loss"],
        }
        for arm in starts.values()
        for number, runs in enumerate(arm.runs)
        for run in runs
        for entry, epoch in enumerate(run.history)
    ]
    data = pd.DataFrame(rows)
    slow, fast = (float(np.median(each)) for each in zip(*race.epochs, strict=True))
    labels = [arm.arm.label for arm in starts.values()]
    return step.figure(
        "ablation_loss",
        figures.learning_curves(data, validation="validation_loss"),
        alt=(
            "Training and validation loss by epoch from two starts. Median epochs to a loss that both "
            f"reach: {labels[0]} {slow:g}, {labels[1]} {fast:g}."
        ),
        caption=(
            "Loss by epoch of one network from two starts, trained alike; a line is a fold and seed. "
            "Solid: validation; dashed: training."
        ),
        data=data,
    )


def race_table(step: Step, starts: Mapping[str, Trained], race: Race) -> Table:
    """Epochs that each start needs to the same validation loss, by fold and seed."""
    slow, fast = starts.values()
    runs = [run for seed in slow.runs for run in seed]
    frame = pd.DataFrame(
        [
            {
                "Fold": run.spec.fold + 1,
                "Seed": number // len(slow.runs[0]) + 1,
                "Validation loss that both reach": loss,
                f"Epochs: {slow.arm.label}": first,
                f"Epochs: {fast.arm.label}": second,
            }
            for number, (run, loss, (first, second)) in enumerate(
                zip(runs, race.losses, race.epochs, strict=True)
            )
        ]
    )
    return step.table(
        "ablation_race",
        frame,
        caption="Epochs to the worse of the two best validation losses; an epoch is the same work for both.",
    )


def share_curves(
    step: Step, shares: Mapping[float, Compared], trained: Mapping[str, Mapping[str, Trained]]
) -> Figure:
    """AUC by number of training images, one curve a start.

    Parameters
    ----------
    step : Step
    shares : mapping of float to Compared
        By share of the training patients.
    trained : mapping of str to mapping of str to Trained
        Their runs, by factor and level.
    """

    def n_train(factor: str, level: str) -> float:
        return float(
            np.mean([run.timings["n_train"] for runs in trained[factor][level].runs for run in runs])
        )

    rows = [
        {
            "label": level.label,
            "x": n_train(compared.factor.key, key),
            "y": level.metrics["auc"].estimate,
            "low": level.metrics["auc"].low,
            "high": level.metrics["auc"].high,
        }
        for compared in shares.values()
        for key, level in compared.levels.items()
    ]
    data = pd.DataFrame(rows)
    ends = data.loc[data.groupby("label", sort=False)["x"].idxmin()]
    return step.figure(
        "ablation_shares",
        figures.lines(data, xlabel="Training images a fold", ylabel="Cross-validated AUC"),
        alt=(
            "AUC by number of training images, one curve a start. With the fewest: "
            + "; ".join(f"{row.label} {row.y:.3f}" for row in ends.itertuples())
            + "."
        ),
        caption=(
            f"AUC by number of training images, with {next(iter(shares.values())).confidence:.0%} bands for "
            "patients and trainings. Validation images, for stopping and thresholds, are the same throughout."
        ),
        data=data,
    )


def spread_table(step: Step, compared: Iterable[Compared]) -> Table:
    """Spread of single trainings by seed beside that of patients."""
    rows = {}
    for each in compared:
        for level in each.levels.values():
            values = level.values["auc"]
            if len(values) < 2:
                continue
            estimate = level.metrics["auc"]
            rows[each.factor.title, level.label] = {
                "Factor": each.factor.title,
                "Level": level.label,
                "Lowest AUC": min(values),
                "Highest AUC": max(values),
                "SD by seed": estimate.details["sd_seed"],
                "SD by patients": estimate.details["sd_sampling"],
            }
    return step.table(
        "ablation_spread",
        pd.DataFrame(list(rows.values())),
        caption=(
            "AUC of trainings that differ in their seed alone: standard deviation of a single training by "
            "seed, and of the mean by which patients were drawn."
        ),
    )


def record(
    step: Step,
    *,
    compared: Mapping[str, Compared],
    shares: Mapping[float, Compared],
    elsewhere: Mapping[str, Compared],
    race: Race,
    runs: Sequence[RunRecord],
    source: RunRecord,
    stages: Sequence[str],
    fine_tuned: int,
    watts: float,
) -> None:
    """Record what claims C4, C5, C6 and C10 are judged by, and what it took.

    Parameters
    ----------
    step : Step
    compared : mapping of str to Compared
        By key of the factor: ``start``, ``depth`` and ``lost`` at least.
    shares : mapping of float to Compared
        By share of the training patients; with the medical start last but one.
    elsewhere : mapping of str to Compared
        Depths by other task, or by the same at another size.
    race : Race
    runs : sequence of RunRecord
        All that were trained.
    source : RunRecord
        Run that the medical start is from.
    stages : sequence of str
        From input to output.
    fine_tuned : int
        Blocks of the usual fine-tuning.
    watts : float
        Assumed power of the machine while it trains, W.
    """
    start, depth, lost = (compared[key] for key in ("start", "depth", "lost"))
    weights = next(run.spec.weights for run in runs if run.spec.model.endswith("_whole"))
    step.number("ablation.weights", WEIGHTS_KIND[weights])
    for metric in ("accuracy", "auc"):
        step.number(f"ablation.start.{metric}", start.difference("imagenet", "scratch", metric))
    step.number("ablation.start.time_saved", race.saved)
    first, *others = stages
    worst = min(others, key=lambda stage: lost.levels[stage].metrics["auc"].estimate)
    step.number("ablation.lost.early_late", lost.difference(others[-1], first, "auc"))
    step.number("ablation.lost.early_most", lost.difference(worst, first, "auc"))
    deepest = max(depth.levels, key=int)
    step.number("ablation.depth.usual", depth.difference(str(fine_tuned), "0", "auc"))
    step.number("ablation.depth.deepest", depth.difference(deepest, str(fine_tuned), "auc"))
    for task, there in elsewhere.items():
        last, every = str(fine_tuned), max(there.levels, key=int)
        for trained, key in (("head", "0"), ("usual", last), ("all", every)):
            step.number(f"ablation.elsewhere.{task}.{trained}", there.levels[key].metrics["auc"])
        step.number(f"ablation.elsewhere.{task}.gain", there.difference(every, last, "auc"))
        level = there.levels[every]
        step.number(
            f"ablation.elsewhere.{task}.given_back",
            f"{level.n_given_back} of {level.n_tuned}",
            description=f"{task_label(task)}: trainings of all blocks that gave back the head",
        )
    for which, each in (("few", shares[min(shares)]), ("all", shares[max(shares)])):
        medical = next(key for key in each.levels if not key.startswith(("imagenet", "scratch")))
        step.number(f"ablation.medical.{which}", each.difference(medical, "imagenet", "auc"))
        step.number(f"ablation.scratch.{which}", each.difference("imagenet", "scratch", "auc"))
    tested = source.predictions().query("part == 'test'")
    step.number(
        "ablation.medical.source",
        clustered_auc(tested["label"], tested["score"], cluster=tested["patient_id"], level=race.saved.level),
    )
    seconds = sum(run.timings["train_s"] for run in runs)
    # one pass serves all runs that start from the same frozen layers
    passes = {run.timings["prefix_s"] for run in runs}
    step.number("ablation.cost.n_runs", len(runs))
    step.number("ablation.cost.hours", (seconds + sum(passes)) / 3600, digits=1, unit="h")
    step.number(
        "ablation.cost.energy",
        (seconds + sum(passes)) * watts / J_PER_KWH,
        digits=2,
        unit="kWh",
        description=f"energy of all trainings at an assumed {watts:g} W",
    )
    for key, name in (("start", "imagenet"), ("lost", "none")):
        details = compared[key].levels[name].metrics["auc"].details
        if details["sd_seed"] is not None:
            step.number(f"ablation.spread.{key}.seed", details["sd_seed"])
            step.number(f"ablation.spread.{key}.patients", details["sd_sampling"])
