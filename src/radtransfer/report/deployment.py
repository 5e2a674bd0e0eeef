"""What a model would change in a department: the reading queue, and what a diagnosis costs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from radtransfer.errors import StepError
from radtransfer.report import figures
from radtransfer.report.explorer import Explorer
from radtransfer.report.numbers import Number
from radtransfer.report.utility import note, percent, scaled
from radtransfer.stats.result import Estimate
from radtransfer.utility import costs
from radtransfer.utility.worklist import Worklist, expected_delays, replicate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from radtransfer.data.store import CuratedDataset
    from radtransfer.report.step import Figure, Step
    from radtransfer.report.tables import Table
    from radtransfer.report.utility import Results
    from radtransfer.training.runs import RunRecord
    from radtransfer.utility.assumptions import Assumption
    from radtransfer.utility.worklist import Day, Order

READING_TASK = "pneumonia"
"""Task whose images are one study each, so that a queue and a fee make sense."""

# --- the reading queue --------------------------------------------------------------------------------------

ORDERS: dict[Order, str] = {
    "arrival": "In order of arrival",
    "flagged": "Flagged first",
    "perfect": "All diseased first",
}

WHO: dict[str, tuple[str, Callable[[Day], NDArray[np.bool_]]]] = {
    "positive": ("Diseased", lambda day: day.positive),
    "missed": ("Diseased and not flagged", lambda day: day.positive & ~day.flagged),
    "negative": ("Healthy", lambda day: ~day.positive),
}


@dataclass(frozen=True)
class Queue:
    """The reading queue with the network's operating point.

    Attributes
    ----------
    work : Worklist
    simulated : dict
        Mean minutes to report by order and by whom.
    label : str
        Name of the network.
    """

    work: Worklist
    simulated: dict[Order, dict[str, Estimate]]
    label: str

    @classmethod
    def of(cls, result: Results, *, n_studies: int, n_replicates: int) -> Queue:
        """Simulate the queue of one task.

        Parameters
        ----------
        result : Results
        n_studies, n_replicates : int
            Studies in a run, and runs.
        """
        point = result.points["network"]["specificity"]
        assumed = {
            name: result.assumptions[f"queue.{name}"].value
            for name in ("utilisation", "minutes", "variation")
        }
        prevalence = (
            result.prevalence.value
            if result.prevalence
            else float(result.questions["network"].test["label"].mean())
        )
        work = Worklist(
            **assumed,
            prevalence=prevalence,
            sensitivity=point.sensitivity.estimate,
            specificity=point.specificity.estimate,
        )
        options: dict[str, Any] = {
            "n_studies": n_studies,
            "n_replicates": n_replicates,
            "level": result.settings.level,
            "seed": result.settings.seed,
        }
        simulated = {
            order: {
                who: replicate(
                    work, _mean_delay(who), order=order, name=f"minutes to report, {words}", **options
                )
                for who, (words, _) in WHO.items()
            }
            for order in ORDERS
        }
        return cls(work, simulated, result.label("network"))


def _mean_delay(who: str) -> Callable[[Day], float]:
    def summary(day: Day) -> float:
        chosen = WHO[who][1](day)
        return float(day.delay[chosen].mean()) if chosen.any() else float(day.delay.mean())

    return summary


def queue_figure(step: Step, queue: Queue) -> Explorer:
    """Mean time to report by how busy the reader is, with sliders."""
    loads = np.linspace(0.3, 0.98, 69)
    rows = []
    for load in loads:
        delays = expected_delays(replace(queue.work, utilisation=float(load)))
        for label, minutes in (
            ("In order of arrival", delays.arrival),
            ("Diseased, flagged first", delays.positive),
            ("Diseased and not flagged", delays.unflagged),
            ("Healthy, flagged first", delays.negative),
        ):
            rows.append({"label": label, "x": load, "y": minutes})
    data = pd.DataFrame(rows)
    now = expected_delays(queue.work)
    figure = step.figure(
        "utility_queue",
        figures.lines(
            data,
            xlabel="Share of the reader's time that the studies need",
            ylabel="Mean minutes to report",
            ylim=(0.0, 3.0 * now.arrival),
            marks={"assumed": queue.work.utilisation},
        ),
        alt=(
            "Mean minutes to report against the reader's load. At a load of "
            f"{percent(queue.work.utilisation)}: "
            f"{now.arrival:.1f} in order of arrival; with flagged studies first {now.positive:.1f} for "
            "diseased, "
            f"{now.unflagged:.1f} for diseased who are not flagged, {now.negative:.1f} for healthy people."
        ),
        caption=(
            f"Mean time to report when {queue.label} puts flagged studies first, by queueing theory. The "
            "nearer "
            "the reader's limit, the more the order matters, and the longer those wait whom the network "
            "misses."
        ),
        data=data,
    )
    return Explorer(
        figure=figure,
        kind="queue",
        title="Move the load, the reading time and the network's accuracy",
        data={
            name: getattr(queue.work, name)
            for name in ("utilisation", "minutes", "variation", "prevalence", "sensitivity", "specificity")
        },
    )


def queue_table(step: Step, queue: Queue) -> Table:
    """Simulated mean time to report beside that of theory."""
    expected = expected_delays(queue.work)
    perfect = expected_delays(replace(queue.work, sensitivity=1.0, specificity=1.0))
    theory = {
        ("arrival", "positive"): expected.arrival,
        ("arrival", "missed"): expected.arrival,
        ("arrival", "negative"): expected.arrival,
        ("flagged", "positive"): expected.positive,
        ("flagged", "missed"): expected.unflagged,
        ("flagged", "negative"): expected.negative,
        ("perfect", "positive"): perfect.positive,
        ("perfect", "missed"): perfect.positive,
        ("perfect", "negative"): perfect.negative,
    }
    frame = pd.DataFrame(
        [
            {
                "Order": ORDERS[order],
                "Who": words,
                "Simulated, min": queue.simulated[order][who],
                "Theory, min": theory[order, who],
            }
            for order in ORDERS
            for who, (words, _) in WHO.items()
        ]
    )
    level = queue.simulated["arrival"]["positive"].level
    return step.table(
        "utility_queue",
        frame,
        digits=1,
        caption=(
            f"Mean minutes from arrival to report, simulated (with {level:.0%} intervals over runs) and by "
            "queueing theory."
        ),
    )


# --- costs --------------------------------------------------------------------------------------------------

INPUT_LABELS = {
    "prevalence": "Prevalence",
    "sensitivity": "Network's sensitivity",
    "specificity": "Network's specificity",
    "reader_sensitivity": "Reader's sensitivity",
    "reader_specificity": "Reader's specificity",
    "reading_cost": "Fee for a reading, $",
    "machine_hour": "Machine hour, $",
    "images_served": "Images a training serves",
    "running_cost": "Running cost an image, $",
}


@dataclass(frozen=True)
class Costs:
    """Cost per correct diagnosis, with its sensitivity analyses.

    Attributes
    ----------
    base : Inputs
    ranges : dict of str to Range
        Of the uncertain inputs.
    drawn : Inputs
        Draws of the probabilistic analysis.
    level : float
    watts : float
        Assumed power.
    """

    base: costs.Inputs
    ranges: dict[str, costs.Range]
    drawn: costs.Inputs
    level: float
    watts: float

    @classmethod
    def of(
        cls,
        step: Step,
        result: Results,
        dataset: CuratedDataset,
        runs: Sequence[RunRecord],
        *,
        n_draws: int,
    ) -> Costs:
        """Costs of one task.

        Parameters
        ----------
        step : Step
            The reader's accuracy is that of the reader study.
        result : Results
        dataset : CuratedDataset
        runs : sequence of RunRecord
            Runs of the networks, for their seconds.
        n_draws : int
            Draws of the probabilistic analysis.
        """
        point = result.points["network"]["sensitivity"]
        reader = _reader(step)
        own = [
            run
            for run in runs
            if (run.spec.task, run.spec.model) == (result.task, result.cases["network"].model)
        ]
        compute, training = seconds(own, dataset)
        assumed = {
            name.removeprefix("costs."): found
            for name, found in result.assumptions.items()
            if name.startswith("costs.")
        }
        if result.prevalence is None:
            raise StepError(f"{result.task} has no prevalence", hint="book/assumptions.yaml")
        assumed["prevalence"] = result.prevalence
        rates = {
            "sensitivity": point.sensitivity,
            "specificity": point.specificity,
            "reader_sensitivity": reader["sensitivity"],
            "reader_specificity": reader["specificity"],
        }
        base = costs.Inputs(
            **{name: found.value for name, found in assumed.items()},
            **{name: rate.estimate for name, rate in rates.items()},
            compute_seconds=compute,
            training_seconds=training,
        )
        ranges = {name: costs.assumed(found.value, found.low, found.high) for name, found in assumed.items()}
        ranges |= {name: costs.measured(rate) for name, rate in rates.items()}
        drawn = costs.draws(base, ranges, n=n_draws, seed=result.settings.seed)
        return cls(base, ranges, drawn, result.settings.level, result.assumptions["energy.watts"].value)

    def estimate(self, strategy: str, what: str) -> Estimate:
        """Cost or yield of a strategy with the quantiles of the probabilistic analysis."""
        point, drawn = (getattr(costs.outcome(strategy, x), what) for x in (self.base, self.drawn))
        values = np.broadcast_to(drawn, np.shape(self.drawn.prevalence) or (1,))
        return costs.summary(f"{costs.STRATEGIES[strategy]}: {what}", float(point), values, level=self.level)

    @property
    def saving(self) -> Estimate:
        """Dollars saved per correct diagnosis by letting the network read first."""
        return costs.summary(
            "dollars saved per correct diagnosis, network first",
            float(costs.saving(self.base)),
            np.asarray(costs.saving(self.drawn)),
            level=self.level,
        )

    @property
    def found_change(self) -> Estimate:
        """Diseased people found of 1,000 when the network reads first, minus those a reader alone finds."""
        point, drawn = (
            1000
            * (np.asarray(costs.outcome("first", x).found) - np.asarray(costs.outcome("reader", x).found))
            for x in (self.base, self.drawn)
        )
        return costs.summary("diseased found per 1,000, network first", float(point), drawn, level=self.level)

    @property
    def probability(self) -> float:
        """Share of the draws in which network first is cheaper per correct diagnosis."""
        return float(np.mean(np.asarray(costs.saving(self.drawn)) > 0))


def _reader(step: Step) -> dict[str, Estimate]:
    """Sensitivity and specificity of a radiologist, as the reader study recorded them."""
    found = {}
    for entry in step.previous("09_reader_study")["numbers"]:
        if entry["key"] in ("readers.rules.reader.sensitivity", "readers.rules.reader.specificity"):
            number = Number.model_validate(entry)
            found[number.key.rpartition(".")[2]] = Estimate(
                name=number.description,
                estimate=float(number.value),
                low=number.low,
                high=number.high,
                level=number.level or 0.95,
                method=number.method,
                n=number.n,
            )
    return found


def seconds(runs: Sequence[RunRecord], dataset: CuratedDataset) -> tuple[float, float]:
    """Seconds of computing for one image and for one training, as the runs measured them.

    Parameters
    ----------
    runs : sequence of RunRecord
        Of one network, one a fold.
    dataset : CuratedDataset
        The activations of its frozen layers were computed once for every view of every image of the folds.
    """
    per_image, per_training = [], []
    for run in runs:
        times = run.timings
        views = len(dataset.folds.table) * (1 + run.spec.options["views"])
        predicted = times["n_validation"] + times["n_test"]
        per_image.append(times["prefix_s"] / views + times["predict_s"] / predicted)
        per_training.append(times["prefix_s"] + times["train_s"])
    return float(np.mean(per_image)), float(np.mean(per_training))


def costs_table(step: Step, found: Costs) -> Table:
    """The strategies: what an image costs, what it yields."""
    columns = {
        "cost": ("Cost an image, $", 1.0),
        "read": ("Read by a person", 1.0),
        "correct": ("Correct per 1,000", 1000.0),
        "found": ("Diseased found per 1,000", 1000.0),
        "per_correct": ("$ per correct diagnosis", 1.0),
        "per_found": ("$ per diseased person found", 1.0),
    }
    frame = pd.DataFrame(
        [
            {"Strategy": label}
            | {
                words: scaled(found.estimate(strategy, what), factor)
                for what, (words, factor) in columns.items()
            }
            for strategy, label in costs.STRATEGIES.items()
        ]
    )
    return step.table(
        "utility_costs",
        frame,
        digits=2,
        caption=(
            f"Costs and yield of three strategies, with {found.level:.0%} intervals of the probabilistic "
            "analysis. "
            "Measured: accuracy and seconds of computing; assumed: prices and prevalence."
        ),
    )


def tornado(step: Step, found: Costs) -> Figure:
    """Which input decides whether the network saves money."""
    data = pd.DataFrame(
        [
            {
                "input": name,
                "label": INPUT_LABELS[name],
                "low": _short(found.ranges[name].low),
                "high": _short(found.ranges[name].high),
                "at_low": low,
                "at_high": high,
            }
            for name, low, high in costs.tornado(found.base, found.ranges)
        ]
    )
    base = float(costs.saving(found.base))
    return step.figure(
        "utility_tornado",
        figures.tornado(data, xlabel="$ saved per correct diagnosis, network first", base=base),
        alt=(
            f"Tornado plot of the dollars saved per correct diagnosis, {base:.2f} at all assumptions. "
            + "; ".join(
                f"{row.label} from {row.low} to {row.high}: {row.at_low:.2f} to {row.at_high:.2f}"
                for row in data.itertuples()
            )
            + "."
        ),
        caption=(
            "One-way sensitivity: dollars saved per correct diagnosis when the network reads first and a "
            "person "
            "reads what it flags, against a person alone. Each bar moves one input over its range; at the "
            "dashed "
            "line nothing is saved."
        ),
        data=data,
    )


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def costs_plane(step: Step, found: Costs) -> Figure:
    """The probabilistic analysis: what network first costs and yields over a reader alone."""
    first, reader = (costs.outcome(strategy, found.drawn) for strategy in ("first", "reader"))
    data = pd.DataFrame(
        {
            "x": 1000 * (np.asarray(first.correct) - np.asarray(reader.correct)),
            "y": 1000 * (np.asarray(first.cost) - np.asarray(reader.cost)),
            "found": 1000 * (np.asarray(first.found) - np.asarray(reader.found)),
        }
    ).head(500)
    cheaper, fewer = float((data["y"] < 0).mean()), float((data["found"] < 0).mean())
    return step.figure(
        "utility_costs_plane",
        figures.scatter(
            data,
            xlabel="More correct diagnoses per 1,000 images",
            ylabel="Extra dollars per 1,000 images",
        ),
        alt=(
            "Scatter of extra dollars against more correct diagnoses, network first against a reader "
            "alone, per "
            f"1,000 images. Cheaper in {percent(cheaper)} of the draws; fewer diseased people found in "
            f"{percent(fewer)}."
        ),
        caption=(
            "Probabilistic analysis: each point is one draw of all uncertain inputs, network first against a "
            "reader alone. Right of the dashed line more diagnoses are correct, below the other one money "
            "is saved."
        ),
        data=data,
    )


def assumptions_table(step: Step, assumptions: Mapping[str, Assumption]) -> Table:
    """Everything the chapter assumes, with its source."""
    frame = pd.DataFrame(
        [
            {
                "Assumption": f"{found.what}, {found.unit}" if found.unit else found.what,
                "Value": _short(found.value),
                "Range": "–" if found.low == found.high else f"{_short(found.low)} to {_short(found.high)}",
                "Source": found.source + (f" [{found.cite}]" if found.cite else ""),
            }
            for found in assumptions.values()
        ]
    )
    return step.table(
        "utility_assumptions",
        frame,
        caption=(
            "Everything this chapter assumes and did not measure; keys in brackets are those of the "
            "references."
        ),
    )


# --- numbers ---


def record_queue(step: Step, queue: Queue) -> None:
    """Record the simulated times to report."""
    for order in ORDERS:
        for who, found in queue.simulated[order].items():
            note(step, f"utility.queue.{order}.{who}", found, digits=1, unit="min")


def record_costs(step: Step, found: Costs) -> None:
    """Record costs, seconds and assumed energy."""
    for strategy in costs.STRATEGIES:
        for what in ("per_correct", "per_found"):
            note(step, f"utility.costs.{strategy}.{what}", found.estimate(strategy, what), digits=2)
    note(step, "utility.costs.saving", found.saving, digits=2)
    note(step, "utility.costs.found_change", found.found_change, digits=1)
    step.number(
        "utility.costs.probability", found.probability, description="share of draws in which it is cheaper"
    )
    step.number("utility.compute.seconds", float(found.base.compute_seconds), digits=2, unit="s")
    step.number("utility.compute.training", float(found.base.training_seconds) / 60, digits=1, unit="min")
    step.number(
        "utility.compute.energy",
        float(found.base.compute_seconds) * found.watts / 3600,
        digits=4,
        unit="Wh",
        description="energy for one image at the assumed power; not measured",
    )
