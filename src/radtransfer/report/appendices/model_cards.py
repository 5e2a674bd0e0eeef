"""A model card for every network of a study, after Mitchell et al.

What was built, trained and measured is read from runs, registry and numbers. What the networks are meant for
stands in ``book/model_cards.yaml``.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from radtransfer.errors import DataError
from radtransfer.evaluation.performance import METRICS
from radtransfer.models.descriptions import DESCRIPTIONS
from radtransfer.report.appendices.datasheets import sheet_anchor
from radtransfer.report.appendices.markdown import links, recorded_table, slug, table
from radtransfer.report.labels import model_label, task_label
from radtransfer.report.numbers import first_complaint, format_number
from radtransfer.report.tables import ABSENT
from radtransfer.report.training import WEIGHTS_KIND

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from radtransfer.report.appendices.evidence import Evidence, Run

STATEMENTS = "model_cards.yaml"

SIZES = ("epochs", "n_train", "n_validation", "n_test")
"""Counts that a run's timings hold."""

OPTIONS = {
    "input_size": "input, px",
    "views": "stored augmented views",
    "rotation_degrees": "rotation up to, degrees",
    "zoom": "zoom up to",
    "shift": "shift up to",
    "horizontal_flip": "mirrored",
    "head_units": "dense layers",
    "dropout": "dropout",
    "learning_rate": "rate of the head",
    "finetune_learning_rate": "rate of fine-tuning",
    "finetune_warmup": "epochs of warm-up",
    "epochs": "epochs at most",
    "patience": "patience, epochs",
    "batch_size": "batch",
    "validation_fraction": "validation part",
}
"""Options that a reader asks for, and what the card calls them."""

REGIMES = {
    "scratch": "all of it is trained, from random numbers",
    "frozen": "the backbone stays as it was, the head alone is trained",
    "finetuned": "the head first, and then with it",
}


class Statements(BaseModel):
    """What only a person can state of the networks.

    Attributes
    ----------
    intended, not_intended, limits : tuple of str
        Of all networks, in Markdown.
    of : dict of str to tuple of str
        Limits of a single network, by its name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    intended: tuple[str, ...]
    not_intended: tuple[str, ...]
    limits: tuple[str, ...]
    of: dict[str, tuple[str, ...]] = {}


def model_cards(evidence: Evidence) -> str:
    """What all networks are for, and then a card for each.

    Raises
    ------
    DataError
        If the statements follow no schema.
    """
    try:
        stated = Statements.model_validate(evidence.facts(STATEMENTS))
    except ValidationError as error:
        raise DataError(f"{STATEMENTS}: {first_complaint(error)}") from error
    by_model: dict[str, list[Run]] = {}
    for run in evidence.own_runs:
        if run.spec.kind == "network":
            by_model.setdefault(run.spec.model, []).append(run)
    common = {
        "Intended use": stated.intended,
        "Uses that are not intended": stated.not_intended,
        "Limits of all networks": stated.limits,
    }
    parts = [f"## {title}\n\n{_bullets(points)}" for title, points in common.items()]
    parts += [_card(evidence, model, runs, stated.of.get(model, ())) for model, runs in by_model.items()]
    return "\n\n".join(parts)


def card_anchor(model: str) -> str:
    """Anchor of a network's card."""
    return f"card-{slug(model)}"


def _bullets(points: Iterable[str]) -> str:
    return "\n".join(f"- {point.strip()}" for point in points)


def _card(evidence: Evidence, model: str, runs: list[Run], limits: tuple[str, ...]) -> str:
    by_task: dict[str, list[Run]] = {}
    for run in runs:
        by_task.setdefault(run.spec.task, []).append(run)
    sections = {
        "Network": _architecture(runs),
        "Weights it starts from": _weights(evidence, runs),
        "Training data": _data(evidence, by_task),
        "Options": _options(by_task),
        "Performance": _performance(evidence, model, by_task),
        "By group of patients": _groups(evidence, model, by_task),
    }
    points = [*_found_limits(by_task), *limits]
    sections["Limits"] = f"{_bullets(points)}\n\n" if points else ""
    sections["Limits"] += "Those [of all networks](#limits-of-all-networks) hold, too."
    parts = [f"({card_anchor(model)})=\n## {model_label(model, runs[0].spec.weights)}"]
    parts += [f"### {title}\n\n{content}" for title, content in sections.items()]
    return "\n\n".join(parts)


def _architecture(runs: list[Run]) -> str:
    options = runs[0].spec.options
    name, blocks = options["backbone"], options["trainable_blocks"]
    regime = REGIMES.get(options["regime"], options["regime"])
    if options["regime"] == "finetuned":
        regime += " the last block" if blocks == 1 else f" the last {blocks} blocks"
    units = ", ".join(map(str, options["head_units"]))
    rows = [("Backbone", f"`{name}`")]
    if told := DESCRIPTIONS.get(name):
        rows = [
            ("Backbone", f"`{name}`, which can be cut between {told.n_blocks} blocks"),
            ("Input", told.input),
            ("Parameters of the backbone", format_number(told.n_parameters)),
            ("Features", f"{told.n_features}, averages over the maps of the last layer"),
        ]
    rows += [
        ("Head", f"dense ReLU layers of {units}; softmax"),
        ("How it is trained", regime),
        ("Trained parameters", _per_task(_trained(runs))),
    ]
    return table(("Part", "What it is"), rows)


def _trained(runs: list[Run]) -> dict[str, str]:
    return {run.spec.task: format_number(int(run.metrics["n_trainable"])) for run in runs}


def _per_task(values: Mapping[str, str]) -> str:
    """One value where all tasks share it, and otherwise each with its task."""
    if len(set(values.values())) == 1:
        return next(iter(values.values()))
    return "; ".join(f"{task_label(task)}: {value}" for task, value in values.items())


def _weights(evidence: Evidence, runs: list[Run]) -> str:
    """Kind, digest and source of the weights, and whose they are."""
    recorded = {
        entry["weights"]["digest"]: entry["weights"]["source"]
        for entry in evidence.environment.get("training", ())
        if entry.get("weights", {}).get("digest")
    }
    rows: list[tuple[str, str]] = []
    for kind, digest in dict.fromkeys((run.spec.weights, run.spec.weights_digest) for run in runs):
        rows.append(("Started from", WEIGHTS_KIND[kind]))
        if digest:
            rows.append(("SHA-256 of the tensors", f"`{digest[:16]}`…"))
            rows.append(("Taken from", links(recorded.get(digest, ABSENT))))
    imagenet = any(run.spec.weights == "imagenet" for run in runs)
    for entry in evidence.manifest.weights.values():
        if imagenet and entry.backbone == runs[0].spec.options["backbone"]:
            rows += [("Licence", entry.licence), ("To be cited", links(entry.citation))]
    return table(("Weights", "What they are"), dict.fromkeys(rows))


def _data(evidence: Evidence, by_task: Mapping[str, list[Run]]) -> str:
    timings = {entry["run"]: entry for entry in evidence.timings["runs"] if "run" in entry}
    rows = []
    for task, runs in by_task.items():
        name = evidence.curations[task]["dataset"] if task in evidence.curations else ""
        title = f"[{name}](#{sheet_anchor(name)})" if name else ABSENT
        found = [timings[run.run] for run in runs if run.run in timings]
        counts = [
            format_number(int(median(entry[size] for entry in found))) if found else ABSENT for size in SIZES
        ]
        rows.append((task_label(task), title, str(len(runs)), *counts[1:], counts[0]))
    head = ("Task", "Dataset", "Folds", "Training images", "Validation", "Test", "Epochs")
    return f"{table(head, rows, numeric=range(2, 7))}\n\nImages and epochs are medians over the folds."


def _options(by_task: Mapping[str, list[Run]]) -> str:
    rows = []
    for name, label in OPTIONS.items():
        values = {
            task: _option(runs[0].spec.options[name])
            for task, runs in by_task.items()
            if name in runs[0].spec.options
        }
        if values:
            rows.append((label, _per_task(values)))
    rows.append(("seed", _per_task({task: str(runs[0].spec.seed) for task, runs in by_task.items()})))
    return table(("Option", "Value"), rows)


def _option(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return (
        ", ".join(map(str, value))
        if isinstance(value, list)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def _performance(evidence: Evidence, model: str, by_task: Mapping[str, list[Run]]) -> str:
    tasks = [task for task in by_task if f"cv.{task}.{model}.auc" in evidence.registry]
    if not tasks:
        return "It was not evaluated."
    metrics = [
        name for name in METRICS if any(f"cv.{task}.{model}.{name}" in evidence.registry for task in tasks)
    ]
    lines = [
        f":::{{numbers-table}} cv.{{task}}.{model}.{{metric}}",
        ":caption: On the test parts of the folds, with 95 % intervals.",
        ":corner: Task",
        ":sparse:",
        "",
        "task:",
        *(f'  {task}: "{task_label(task)}"' for task in tasks),
        "metric:",
        *(f'  {name}: "{METRICS[name]}"' for name in metrics),
        ":::",
        "",
        "The [evaluation](../../notebooks/04_evaluation.ipynb) sets it beside baselines and shortcuts.",
    ]
    return "\n".join(lines)


def _groups(evidence: Evidence, model: str, by_task: Mapping[str, list[Run]]) -> str:
    shown = []
    for task, runs in by_task.items():
        key, label = f"subgroups.{task}.network", model_label(model, runs[0].spec.weights)
        if key in evidence.registry and evidence.registry.get(key).value == label:
            shown += [f"*{task_label(task)}*", recorded_table(f"subgroup_cells_{task}")]
    chapter = "[Bias: patient groups](../../notebooks/08_bias_subgroups.ipynb)"
    if not shown:
        return f"Groups are told for one network a task, which is not this one: {chapter}."
    return "\n\n".join([*shown, f"Gaps and their tests: {chapter}."])


def _found_limits(by_task: Mapping[str, list[Run]]) -> list[str]:
    """Limits that the runs themselves tell."""
    limits = []
    if random := [
        task for task, runs in by_task.items() if any(run.spec.weights == "random" for run in runs)
    ]:
        names = ", ".join(map(task_label, random))
        limits.append(
            f"ImageNet weights could not be had and random numbers stand for them: no transfer ({names})."
        )
    sizes = {runs[0].spec.options["input_size"] for runs in by_task.values()}
    limits.append(
        f"It saw images of {' and '.join(map(str, sorted(sizes)))} px; what is finer was lost to it."
    )
    return limits
