"""Figures, tables and numbers of the chapter on leakage and shortcuts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from radtransfer.data.leakage import NAMES, QUANTITIES
from radtransfer.evaluation.performance import METRICS, decide
from radtransfer.protocols.disagreement import disagreement
from radtransfer.report import figures
from radtransfer.report.inputs import unit_of
from radtransfer.report.labels import PRIMARY_NETWORKS, TRADITIONAL, model_label, primary_network, task_label
from radtransfer.report.ledger import load_claims
from radtransfer.report.numbers import format_number
from radtransfer.report.tasks import ByTask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from radtransfer.data.store import CuratedDataset
    from radtransfer.protocols.disagreement import Disagreement
    from radtransfer.protocols.experiments import Experiment, Result
    from radtransfer.report.step import Figure, Step
    from radtransfer.report.tables import Table
    from radtransfer.stats.result import Estimate

    Results = Mapping[str, Sequence[Result]]

MISTAKES: Final = {
    "by_image": "split by image",
    "official": "split as published",
    "restricted": "all slices",
    "matched": "as collected",
    "elsewhere": "tested at home",
}
"""The wrong protocol of each kind of experiment."""

REPAIRS: Final = {
    "by_image": "by patient",
    "official": "without its leaks",
    "restricted": "near a lesion only",
    "matched": "classes matched",
    "elsewhere": "trained elsewhere",
}
"""The right one."""

PROTOCOLS: Final = {
    "by_image": "Split by image",
    "by_group": "Split by the groups of the other chapters",
    "by_patient": "Split by patient",
    "official": "Split as published",
    "official_fewer": "As published, as many training images left out at random",
    "official_without_leaks": "As published, training images that leak left out",
    "everything": "All images",
    "restricted": "Images near a lesion only",
    "matched": "Classes matched",
    "at_home": "Trained and tested on one collection",
    "elsewhere": "Trained on another collection",
}

CLAIMS: Final = {"xray": "C1", "mri": "C2", "ct": "C3"}
"""Claim of the paper that a kind of image stands for."""


def protocol_label(name: str) -> str:
    """Name of a protocol for readers."""
    start, _, share = name.rpartition("_")
    return f"Groups of images that correlate by .{share}" if start == "similar" else PROTOCOLS[name]


def mistake_label(experiment: Experiment) -> str:
    """The wrong and the right protocol of an experiment, for readers."""
    right = "by coarse groups" if experiment.right.startswith("similar") else REPAIRS[experiment.kind]
    return f"{MISTAKES[experiment.kind]} v. {right}"


def experiment_label(experiment: Experiment) -> str:
    """Name of an experiment for readers."""
    return f"{task_label(experiment.data)}: {mistake_label(experiment)}"


def paper_accuracy(experiment: Experiment) -> tuple[float, float]:
    """Accuracy that the paper claims of networks on that kind of image, from and to."""
    claims = {claim.id: claim for claim in load_claims()}
    accuracy = claims[CLAIMS[experiment.modality]].accuracy
    assert accuracy is not None, f"claim {CLAIMS[experiment.modality]} states no accuracy"
    return accuracy


def property_label(column: str) -> str:
    """Name of a property for readers."""
    return {**QUANTITIES, **NAMES}[column]


def opening(step: Step, results: Results) -> Figure:
    """Accuracy under the wrong and the right protocol, beside chance and what the paper claims.

    Parameters
    ----------
    step : Step
    results : mapping of str to sequence of Result
        By experiment; the first learner is drawn.
    """
    rows = []
    for first, *_ in results.values():
        paper_low, paper_high = paper_accuracy(first.experiment)
        row: dict[str, Any] = {
            "label": task_label(first.experiment.data),
            "detail": mistake_label(first.experiment),
        }
        for side, name in (("first", first.experiment.wrong), ("second", first.experiment.right)):
            measured = first.comparison.arms[name]
            row |= _point(side, measured.metrics["accuracy"]) | {f"{side}_mark": measured.chance}
        rows.append(row | {"band_low": paper_low, "band_high": paper_high})
    data = pd.DataFrame(rows)
    shown = next(iter(results.values()))[0]
    return step.figure(
        "wrong_and_right",
        figures.dumbbell(
            data,
            xlabel=f"Accuracy ({shown.comparison.level:.0%} CI)",
            names={"first": "Wrong protocol", "second": "Right protocol", "mark": "Chance", "band": "Paper"},
        ),
        alt="Accuracy under the wrong and under the right protocol. "
        + " ".join(
            f"{row.label}, {row.detail}: {row.first:.3f} against {row.second:.3f}, paper {row.band_low:.3f}."
            for row in data.itertuples()
        ),
        caption=(
            f"{model_label(shown.learner)}: accuracy under the wrong and the right protocol, with intervals "
            "that resample whole patients. Chance is the share of the largest class among the test images. "
            "The paper's line is the accuracy that it reports for that kind of image; of CT it gives "
            "sensitivity and specificity, between which the accuracy lies."
        ),
        data=data,
    )


def arms_tables(step: Step, results: Results) -> ByTask:
    """Every protocol of every experiment, with every learner.

    Parameters
    ----------
    step : Step
    results : mapping of str to sequence of Result
        By experiment.
    """
    return ByTask(
        {
            experiment_label(found[0].experiment): _arms_table(step, name, found)
            for name, found in results.items()
        }
    )


def _arms_table(step: Step, name: str, results: Sequence[Result]) -> Table:
    experiment, level = results[0].experiment, results[0].comparison.level
    shared = experiment.shared()
    rows = [
        {
            "Model": model_label(result.learner),
            "Protocol": protocol_label(arm),
            "Images tested": measured.n_images,
            "Share with patient in training": shared[arm],
            "Chance": measured.chance,
            **{METRICS[key]: estimate for key, estimate in measured.metrics.items()},
            "Accuracy gained": _gain(result, arm) if arm != experiment.right else None,
        }
        for result in results
        for arm, measured in result.comparison.arms.items()
    ]
    return step.table(
        f"protocols_{name}",
        pd.DataFrame(rows),
        caption=(
            f"Every protocol and learner, with {level:.0%} intervals that resample {experiment.unit}. Gains "
            "are over the last protocol of the same learner."
        ),
    )


def similarity_groups(step: Step, results: Results) -> Figure:
    """What groups of similar images leave of a leak.

    Parameters
    ----------
    step : Step
    results : mapping of str to sequence of Result
        By experiment; of those that deal by image the first learner is drawn.
    """
    chosen = [found[0] for found in results.values() if found[0].experiment.kind == "by_image"]
    rows = []
    for result in chosen:
        shared = result.experiment.shared()
        for arm, measured in result.comparison.arms.items():
            accuracy = measured.metrics["accuracy"]
            leaking = format_number(100 * shared[arm], digits=0)
            rows.append(
                {
                    "label": f"{protocol_label(arm)}: {leaking} % leak",
                    "estimate": accuracy.estimate,
                    "low": accuracy.low,
                    "high": accuracy.high,
                    "group": task_label(result.experiment.data),
                    "shared": shared[arm],
                }
            )
    data = pd.DataFrame(rows)
    return step.figure(
        "similarity_groups",
        figures.forest(data, xlabel=f"Accuracy ({chosen[0].comparison.level:.0%} CI)"),
        alt="Forest plot of accuracy by protocol. "
        + " ".join(f"{row.group}, {row.label}: {row.estimate:.3f}." for row in data.itertuples()),
        caption=(
            f"{model_label(chosen[0].learner)}, patients treated as unknown: accuracy by protocol, and the "
            "share of test images of whose patient there is an image in training. Images whose thumbnails "
            "correlate so much are joined, and so are chains of them."
        ),
        data=data,
    )


def disagreements(
    predictions: Mapping[str, pd.DataFrame],
    datasets: Mapping[str, CuratedDataset],
    properties: Mapping[str, Sequence[str]],
    **bootstrap: Any,
) -> dict[str, list[Disagreement]]:
    """The study's models where a property misleads.

    Parameters
    ----------
    predictions : mapping of str to DataFrame
        Of all models, by task.
    datasets : mapping of str to CuratedDataset
        By task.
    properties : mapping of str to sequence of str
        By task.
    **bootstrap
        ``n_resamples``, ``level`` and ``seed`` as for
        :func:`radtransfer.protocols.disagreement.disagreement`.

    Returns
    -------
    dict of str to list of Disagreement
        By task: for each property the network that stands for transfer learning, then the traditional
        baseline with the highest validation AUC.
    """
    found = {}
    for task, columns in properties.items():
        table = predictions[task]
        by_model = {str(name): part for name, part in table.groupby("model", sort=False)}
        traditional = [name for name in TRADITIONAL if name in by_model]
        best = max(traditional, key=lambda name: decide(by_model[name]).validation_auc)
        found[task] = [
            disagreement(
                by_model[model], datasets[task].cohort, column, unit=unit_of(datasets[task]), **bootstrap
            )
            for column in columns
            for model in (primary_network(by_model), best)
        ]
    return found


def disagreement_figure(step: Step, found: Mapping[str, Sequence[Disagreement]]) -> Figure:
    """Accuracy where a property points to the right class and where it points to a wrong one.

    Parameters
    ----------
    step : Step
    found : mapping of str to sequence of Disagreement
        By task, see :func:`disagreements`.
    """
    data = pd.DataFrame(
        [
            {
                "label": task_label(task),
                "property": property_label(each.column),
                "model": model_label(each.model),
            }
            | _point("first", each.agree)
            | _point("second", each.disagree)
            | {"first_mark": each.shortcut.estimate}
            for task, several in found.items()
            for each in several
        ]
    )
    level = next(iter(found.values()))[0].agree.level
    return step.figure(
        "shortcut_misleads",
        figures.dumbbell(
            data.assign(detail=data["property"] + "\n" + data["model"]),
            xlabel=f"Accuracy, mean of the classes ({level:.0%} CI)",
            names={"first": "Shortcut right", "second": "Shortcut wrong", "mark": "Shortcut alone"},
        ),
        alt="Accuracy where a shortcut is right and where it is wrong. "
        + " ".join(
            f"{row.label}, {row.property}, {row.model}: {row.first:.3f} against {row.second:.3f}."
            for row in data.itertuples()
        ),
        caption=(
            "Models of the study on test images of which one property alone tells the right class, and on "
            "those of which it tells a wrong one, with intervals that resample whole patients."
        ),
        data=data,
    )


def record(step: Step, results: Results, found: Mapping[str, Sequence[Disagreement]]) -> None:
    """Record what the wrong protocols gain, and what misleading shortcuts cost.

    Parameters
    ----------
    step : Step
    results : mapping of str to sequence of Result
        By experiment; of the first learner.
    found : mapping of str to sequence of Disagreement
        By task.
    """
    for name, (first, *_) in results.items():
        arms, experiment = first.comparison.arms, first.experiment
        for key, estimate in {
            "wrong": arms[experiment.wrong].metrics["accuracy"],
            "right": arms[experiment.right].metrics["accuracy"],
            "gain": _gain(first, experiment.wrong),
            "wrong_auc": arms[experiment.wrong].metrics["auc"],
            "right_auc": arms[experiment.right].metrics["auc"],
        }.items():
            step.number(
                f"protocols.{name}.{key}",
                estimate,
                description=f"{experiment_label(experiment)}: {estimate.name}",
            )
    for task, several in found.items():
        for each in several:
            if each.model in PRIMARY_NETWORKS:
                for key in ("agree", "disagree", "gap"):
                    step.number(f"misled.{task}.{each.column}.{key}", getattr(each, key))


def _point(side: str, estimate: Estimate) -> dict[str, Any]:
    return {side: estimate.estimate, f"{side}_low": estimate.low, f"{side}_high": estimate.high}


def _gain(result: Result, arm: str) -> Estimate:
    return result.comparison.difference(arm, result.experiment.right, "accuracy")
