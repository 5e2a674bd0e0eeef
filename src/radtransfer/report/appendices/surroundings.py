"""Machines, versions and times of a study, as its runs recorded them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from radtransfer.report.appendices.markdown import details, table
from radtransfer.report.labels import model_label, task_label
from radtransfer.report.numbers import format_number
from radtransfer.report.tables import ABSENT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from radtransfer.report.appendices.evidence import Evidence

OF_MACHINE = ("platform", "machine", "cores", "device", "threads", "op_determinism", "backend", "python")
"""What tells the machines of training runs apart, beside the versions."""

LABELS = {
    "python": "Python",
    "system": "System",
    "platform": "System",
    "machine": "Architecture",
    "cpu": "Processor",
    "cores": "Cores",
    "memory_gib": "Memory, GiB",
    "gpus": "GPUs",
    "variables": "Variables that change results",
    "device": "Device",
    "threads": "Threads",
    "op_determinism": "Deterministic operations",
    "backend": "Backend of Keras",
}


def machines(evidence: Evidence) -> str:
    """Machine that executed the notebooks, and what the training runs say of theirs."""
    driver = evidence.environment["driver"]
    rows = [(label, _value(driver[name])) for name, label in LABELS.items() if name in driver]
    parts = [
        "### Where the notebooks were executed",
        table(("What", "Which"), rows),
        *_supplements(evidence),
        "### Where models were trained",
    ]
    found: dict[str, int] = {}
    for entry in evidence.environment.get("training", ()):
        told = {name: entry[name] for name in OF_MACHINE if name in entry}
        told |= entry.get("versions", {})
        text = json.dumps(told)
        found[text] = found.get(text, 0) + int(entry.get("runs", 1))
    if not found:
        return "\n\n".join([*parts, "Nothing was trained."])
    settings = [(count, json.loads(text)) for text, count in found.items()]
    names = dict.fromkeys(name for _, told in settings for name in told)
    head = ("What", *(f"{format_number(count)} runs" for count, _ in settings))
    body = [
        (LABELS.get(name, f"`{name}`"), *(_value(told.get(name)) for _, told in settings)) for name in names
    ]
    return "\n\n".join([*parts, table(head, body)])


def _supplements(evidence: Evidence) -> list[str]:
    """Notebooks that were executed later, on the published results of the others, and where."""
    parts = []
    for entry in evidence.environment.get("supplements", ()):
        names = ", ".join(f"[{name}](../../notebooks/{name}.ipynb)" for name in entry["notebooks"])
        rows = [
            (label, _value(entry["driver"][name]))
            for name, label in LABELS.items()
            if name in entry["driver"]
        ]
        parts += [
            f"Executed later, on the published results of the other notebooks: {names}.",
            table(("What", "Which"), rows),
        ]
    return parts


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"`{name}={part}`" for name, part in value.items()) or "none set"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return ABSENT if value is None else str(value)


def times(evidence: Evidence) -> str:
    """Seconds of each notebook, and of training by task and model."""
    steps: Mapping[str, float] = evidence.timings["steps_s"]
    notebooks = [
        (f"[{name}](../../notebooks/{name}.ipynb)", _seconds(value)) for name, value in sorted(steps.items())
    ]
    parts = [
        "### Notebooks",
        "Seconds of each notebook's last complete run. What was trained or computed before is not done "
        "again, so that a notebook which only reads takes little.",
        table(("Notebook", "Seconds"), notebooks, numeric=(1,)),
        "### Training",
        "Seconds over all folds. Activations of frozen layers are computed once for all folds and shared by "
        "networks of one backbone, so that their seconds must not be added up over rows.",
    ]
    own = {run.run for run in evidence.own_runs}
    fitted: dict[tuple[str, str], list[Mapping[str, float]]] = {}
    for entry in evidence.timings["runs"]:
        if entry.get("run") in own:
            fitted.setdefault((entry["task"], entry["model"]), []).append(entry)
    rows = [
        (
            task_label(task),
            model_label(model),
            str(len(folds)),
            _seconds(max(fold.get("prefix_s", 0.0) for fold in folds)),
            *(_seconds(sum(fold.get(name, 0.0) for fold in folds)) for name in ("train_s", "predict_s")),
        )
        for (task, model), folds in fitted.items()
    ]
    head = ("Task", "Model", "Folds", "Activations, s", "Training, s", "Scoring, s")
    return "\n\n".join([*parts, table(head, rows, numeric=range(2, 6))])


def _seconds(value: float) -> str:
    return format_number(float(value), digits=1)


def packages(evidence: Evidence) -> str:
    """Every installed package with its version, folded."""
    installed: Mapping[str, str] = evidence.environment["driver"].get("packages", {})
    listing = table(("Package", "Version"), [(f"`{name}`", version) for name, version in installed.items()])
    return details(f"All {len(installed)} packages of the environment", listing)
