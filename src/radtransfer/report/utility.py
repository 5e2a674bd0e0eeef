"""What a model would change, task by task: decisions, calibration, abstention, small lesions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from radtransfer.errors import StepError
from radtransfer.report import figures
from radtransfer.report.explorer import Explorer
from radtransfer.report.labels import TRADITIONAL, model_label, primary_network, task_label
from radtransfer.report.numbers import format_number
from radtransfer.report.training import validation_auc
from radtransfer.stats.calibration import reliability_curve
from radtransfer.stats.result import Estimate
from radtransfer.utility.abstention import Abstention, ConformalSets, abstain, conformal_sets
from radtransfer.utility.cases import Question, Scored, question, scored
from radtransfer.utility.decisions import OperatingPoint, curve_at, gain, operating_point
from radtransfer.utility.lesions import (
    LEAST_LESIONS,
    THIRDS,
    LesionDetection,
    detection,
    lesion_size,
    small_lesion_gain,
)
from radtransfer.utility.recalibration import METHODS, measures, pooled, recalibrate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from radtransfer.data.store import CuratedDataset
    from radtransfer.report.step import Figure, Step
    from radtransfer.report.tables import Table
    from radtransfer.training.runs import RunRecord
    from radtransfer.utility.assumptions import Assumption

LOOKED_FOR = {"tumour": "meningioma"}
"""Class that is looked for in a task with several."""

RECALIBRATION = "sigmoid"
"""Declared beforehand: two parameters are what some eighty validation images can carry."""

ROLES = ("network", "traditional")

CALIBRATION = {
    "brier": "Brier score",
    "ece": "Expected calibration error",
    "slope": "Slope",
    "intercept": "Calibration in the large",
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the chapter computes.

    Attributes
    ----------
    n_resamples, level, seed
        Of the intervals.
    sensitivity, specificity : float
        Operating points: what is fixed on validation images.
    alpha : float
        Share of a class that conformal sets may miss.
    """

    n_resamples: int
    level: float
    seed: int
    sensitivity: float
    specificity: float
    alpha: float

    @property
    def bootstrap(self) -> dict[str, Any]:
        """Arguments of the functions that resample."""
        return {"n_resamples": self.n_resamples, "level": self.level, "seed": self.seed}


@dataclass(frozen=True)
class Results:
    """What a task's network and its best traditional baseline would change.

    Attributes
    ----------
    task : str
    settings : Settings
    cases, questions : dict
        Predictions by role of :data:`ROLES`; ``questions`` are recalibrated.
    weights : dict of str to str
        What each started from.
    assumptions : mapping of str to Assumption
    points : dict
        Operating points by role, then by what is fixed.
    abstention : dict of str to Abstention
    conformal : ConformalSets
        Of the network.
    size : ndarray
        Lesion size of the test images.
    lesions : dict of str to LesionDetection
        By role; empty where no boxes are known.
    """

    task: str
    settings: Settings
    cases: dict[str, Scored]
    questions: dict[str, Question]
    weights: dict[str, str]
    assumptions: Mapping[str, Assumption]
    points: dict[str, dict[str, OperatingPoint]]
    abstention: dict[str, Abstention]
    conformal: ConformalSets
    size: NDArray[np.float64]
    lesions: dict[str, LesionDetection]

    @classmethod
    def of(
        cls,
        predictions: pd.DataFrame,
        dataset: CuratedDataset,
        runs: Iterable[RunRecord],
        assumptions: Mapping[str, Assumption],
        settings: Settings,
    ) -> Results:
        """Analyse one task.

        Parameters
        ----------
        predictions : DataFrame
            Prediction table of the task.
        dataset : CuratedDataset
        runs : iterable of RunRecord
            Runs of the study; the traditional baseline is chosen by its validation AUC.
        assumptions : mapping of str to Assumption
        settings : Settings
        """
        task = dataset.task
        models = {
            "network": primary_network(predictions["model"].unique()),
            "traditional": best_traditional(run for run in runs if run.spec.task == task),
        }
        started = predictions.drop_duplicates("model").set_index("model")["weights"]
        cases = {role: scored(predictions, model) for role, model in models.items()}
        asked = {
            role: question(case, LOOKED_FOR.get(task) if len(case.classes) > 2 else None)
            for role, case in cases.items()
        }
        points = {
            role: {
                "sensitivity": operating_point(
                    ask, "sensitivity", settings.sensitivity, level=settings.level
                ),
                "specificity": operating_point(
                    ask, "specificity", settings.specificity, level=settings.level
                ),
            }
            for role, ask in asked.items()
        }
        better = {role: replace(case, test=recalibrate(case, RECALIBRATION)) for role, case in cases.items()}
        size = lesion_size(dataset.cohort.frame, asked["network"].test["image_id"].tolist())
        known = int(np.isfinite(size[asked["network"].test["label"] == 1]).sum())
        return cls(
            task=task,
            settings=settings,
            cases=cases,
            questions={role: question(case, asked[role].positive) for role, case in better.items()},
            weights={role: str(started[model]) for role, model in models.items()},
            assumptions=assumptions,
            points=points,
            abstention={role: abstain(case.test, **settings.bootstrap) for role, case in better.items()},
            conformal=conformal_sets(cases["network"], alpha=settings.alpha, level=settings.level),
            size=size,
            lesions={
                role: detection(asked[role], points[role]["specificity"], size, **settings.bootstrap)
                for role in (ROLES if known >= LEAST_LESIONS else ())
            },
        )

    def label(self, role: str) -> str:
        """Name of the model that plays a role."""
        return model_label(self.cases[role].model, self.weights[role])

    def assumed(self, kind: str) -> dict[str, Assumption]:
        """Assumptions of one kind for this task, ``prevalence`` or ``threshold``, by their last word."""
        start = f"{kind}.{self.task}"
        return {
            name.removeprefix(start).removeprefix("."): assumption
            for name, assumption in self.assumptions.items()
            if name == start or name.startswith(f"{start}.")
        }

    @property
    def prevalence(self) -> Assumption | None:
        """Where the model is to be used, if that is known."""
        return self.assumptions.get(f"prevalence.{self.task}")

    def benefit(self, role: str, threshold: float) -> Estimate:
        """Net benefit over the better of treating all and treating none."""
        assert self.prevalence is not None
        curve = curve_at(
            self.questions[role],
            prevalence=self.prevalence.value,
            thresholds=np.array([threshold]),
            level=self.settings.level,
        )
        (point,) = curve.points
        return scaled(point, shift=-max(float(point.details["treat_all"]), 0.0))

    def most(self, threshold: float) -> float:
        """Net benefit of perfect decisions over the better of treating all and treating none."""
        assert self.prevalence is not None
        prevalence = self.prevalence.value
        return prevalence - max(prevalence - (1 - prevalence) * threshold / (1 - threshold), 0.0)

    def gain(self, threshold: float) -> Estimate | None:
        """Net benefit of the network minus that of the baseline."""
        assert self.prevalence is not None
        return gain(
            self.questions["network"],
            self.questions["traditional"],
            prevalence=self.prevalence.value,
            threshold=threshold,
            level=self.settings.level,
        )

    def small_gain(self) -> Estimate | None:
        """AUC on the smallest third of the lesions, network minus baseline."""
        if not self.lesions:
            return None
        return small_lesion_gain(
            self.questions["network"],
            self.questions["traditional"],
            self.size,
            **self.settings.bootstrap,
        )


def best_traditional(runs: Iterable[RunRecord]) -> str:
    """Traditional baseline with the highest mean validation AUC."""
    found: dict[str, list[float]] = {}
    for run in runs:
        if run.spec.model in TRADITIONAL:
            found.setdefault(run.spec.model, []).append(validation_auc(run))
    if not found:
        raise StepError("no traditional baseline was fitted", hint="name one in 02_traditional_baselines")
    return max(found, key=lambda model: float(np.mean(found[model])))


def scaled(estimate: Estimate, factor: float = 1.0, shift: float = 0.0) -> Estimate:
    """Estimate and limits in another unit, or from another zero."""
    low, high = (None if end is None else end * factor + shift for end in (estimate.low, estimate.high))
    return replace(estimate, estimate=estimate.estimate * factor + shift, low=low, high=high)


def _row(estimate: Estimate, **words: Any) -> dict[str, Any]:
    """Row of a figure's data."""
    low, high = (np.nan if value is None else value for value in (estimate.low, estimate.high))
    return {**words, "estimate": estimate.estimate, "low": low, "high": high}


def _spoken(rows: pd.DataFrame, digits: int = 3) -> str:
    """Rows of a forest plot as words."""
    return "; ".join(
        f"{row.label} {row.estimate:.{digits}f} ({row.low:.{digits}f} to {row.high:.{digits}f})"
        for row in rows.itertuples()
    )


def percent(value: float) -> str:
    """Share as per cent, with a decimal where it is not whole; does not break."""
    text = format_number(100 * value, digits=1 if round(100 * value, 1) % 1 else 0, unit="%")
    return text.replace(" ", "\N{NO-BREAK SPACE}")


# --- decisions ------------------------------------------------------------------------------------------


def benefit_forest(step: Step, results: Mapping[str, Results]) -> Figure:
    """What decisions by the network are worth, over deciding alike for all: the chapter's answer."""
    rows = []
    for task, result in decided(results).items():
        for name, threshold in result.assumed("threshold").items():
            for role, family in (("network", "Network"), ("traditional", "Handcrafted features")):
                benefit = result.benefit(role, threshold.value)
                rows.append(
                    _row(
                        scaled(benefit, 100 / result.most(threshold.value)),
                        label=f"{task_label(task).split(',')[0]}, {name} from {percent(threshold.value)}",
                        group=family,
                        task=task,
                        threshold=threshold.value,
                        per_1000=1000 * benefit.estimate,
                    )
                )
    if not rows:
        raise StepError("no task of the study has a prevalence and a threshold", hint="book/assumptions.yaml")
    data = pd.DataFrame(rows)
    level = next(iter(results.values())).settings.level
    return step.figure(
        "utility_benefit",
        figures.forest(
            data,
            xlabel=f"Per cent of what perfect decisions would gain ({level:.0%} CI)",
            reference=0,
            digits=0,
        ),
        alt=(
            "Forest plot of the net benefit over the better of treating all and treating none, in per cent "
            "of "
            "that of perfect decisions. "
            f"{_spoken(data.assign(label=data['label'] + ' (' + data['group'] + ')'), 0)}."
        ),
        caption=(
            "What deciding by a model gains over deciding alike for all, in per cent of what perfect "
            "decisions "
            "would gain, at the prevalence and the thresholds of the table of assumptions. At the dashed "
            "line "
            "the model changes nothing."
        ),
        data=data,
    )


def decided(results: Mapping[str, Results]) -> dict[str, Results]:
    """Results of the tasks whose prevalence and thresholds are known."""
    return {
        task: result
        for task, result in results.items()
        if result.prevalence is not None and result.assumed("threshold")
    }


def decision_curves(step: Step, result: Results) -> Figure:
    """Net benefit over thresholds, at the prevalence of practice."""
    assert result.prevalence is not None
    thresholds = {name: found.value for name, found in result.assumed("threshold").items()}
    grid = np.linspace(0.005, min(0.95, 1.5 * max(thresholds.values())), 60)
    frames = []
    for role in ROLES:
        rows = curve_at(
            result.questions[role],
            prevalence=result.prevalence.value,
            thresholds=grid,
            level=result.settings.level,
        ).to_rows()
        frame = pd.DataFrame(rows).rename(columns={"threshold": "x", "net_benefit": "y"})
        frames.append(frame[["x", "y", "low", "high"]].assign(label=result.label(role)))
    for label, column in (("Treat all", "treat_all"), ("Treat none", "treat_none")):
        frames.append(pd.DataFrame({"label": label, "x": grid, "y": [row[column] for row in rows]}))
    data = pd.concat(frames, ignore_index=True)
    data[["y", "low", "high"]] *= 1000
    top = 1000 * result.prevalence.value
    return step.figure(
        f"utility_decision_{result.task}",
        figures.lines(
            data,
            xlabel="Threshold probability",
            ylabel="Net true positives per 1,000",
            ylim=(-0.2 * top, 1.08 * top),
            marks=thresholds,
        ),
        alt=(
            f"Decision curves at a prevalence of {percent(result.prevalence.value)}. "
            + "; ".join(
                f"at a threshold of {percent(value)}, {result.label(role)} gains "
                f"{1000 * result.benefit(role, value).estimate:.1f} net true positives per 1,000 over the "
                "better "
                "of treating all and none"
                for value in thresholds.values()
                for role in ROLES
            )
            + "."
        ),
        caption=(
            f"Decision curves of {_looked_for(result)} at a prevalence of "
            f"{percent(result.prevalence.value)}, "
            f"with pointwise {result.settings.level:.0%} bands robust to patients; probabilities "
            "recalibrated on "
            "validation images. Dashed: thresholds of the table of assumptions."
        ),
        data=data,
    )


def _looked_for(result: Results) -> str:
    """What is looked for, in words."""
    name = result.questions["network"].positive
    return f"{name} against the rest" if len(result.cases["network"].classes) > 2 else task_label(result.task)


def operating_points(step: Step, result: Results) -> Table:
    """Both models where a sensitivity or a specificity was fixed, with predictive values."""
    rows = []
    for role in ROLES:
        for fixed, point in result.points[role].items():
            row: dict[str, Any] = {
                "Model": result.label(role),
                "Fixed on validation": f"{fixed} {percent(point.wanted)}",
                "Sensitivity": point.sensitivity,
                "Specificity": point.specificity,
            }
            for assumption in result.assumed("prevalence").values():
                values = point.predictive_values(assumption.value, level=result.settings.level)
                for name, value in zip(("PPV", "NPV"), values, strict=True):
                    row[f"{name} at {percent(assumption.value)}"] = value
            rows.append(row)
    return step.table(
        f"utility_points_{result.task}",
        pd.DataFrame(rows),
        caption=(
            f"Operating points for {_looked_for(result)}: thresholds from each fold's validation images, "
            "judged "
            f"on its test images, with {result.settings.level:.0%} intervals; predictive values at the "
            "prevalences of the table of assumptions."
        ),
    )


def threshold_explorer(step: Step, result: Results) -> Explorer:
    """ROC curves of recalibrated probabilities, and under them the same with sliders."""
    tables = {role: _rates(result.questions[role]) for role in ROLES}
    data = pd.concat(
        [
            frame.assign(label=result.label(role), x=1 - frame["specificity"], y=frame["sensitivity"])
            for role, frame in tables.items()
        ],
        ignore_index=True,
    )
    figure = step.figure(
        f"utility_roc_{result.task}",
        figures.roc_curves(data[["label", "x", "y"]]),
        alt=(
            f"ROC curves of {_looked_for(result)} over the recalibrated probabilities of all folds. "
            + "; ".join(
                f"{result.label(role)} with a {fixed} of {percent(point.wanted)} fixed on validation images: "
                f"sensitivity {point.sensitivity.estimate:.3f}, specificity {point.specificity.estimate:.3f}"
                for role in ROLES
                for fixed, point in result.points[role].items()
            )
            + "."
        ),
        caption=(
            f"ROC curves of {_looked_for(result)} over the recalibrated probabilities of all folds together. "
            "Below, any threshold can be tried at any prevalence."
        ),
        data=data,
    )
    models = []
    for role, frame in tables.items():
        wanted = result.points[role]["sensitivity"].sensitivity.estimate
        models.append(
            {
                "label": result.label(role),
                "threshold": frame["threshold"].round(6).tolist(),
                "sensitivity": frame["sensitivity"].round(4).tolist(),
                "specificity": frame["specificity"].round(4).tolist(),
                "chosen": int((frame["sensitivity"] - wanted).abs().argmin()),
            }
        )
    prevalence = 0.1 if result.prevalence is None else result.prevalence.value
    return Explorer(
        figure=figure,
        kind="threshold",
        title=f"{task_label(result.task)}: move the threshold and the prevalence",
        data={"models": models, "prevalence": prevalence, "mark": "Sensitivity fixed on validation images"},
    )


def _rates(ask: Question, n: int = 100) -> pd.DataFrame:
    """Sensitivity and specificity at the quantiles of the scores, and where all or none are called."""
    score, label = ask.test["score"].to_numpy(), ask.test["label"].to_numpy() == 1
    thresholds = np.concatenate([np.quantile(score, np.linspace(0, 1, n)), [np.nextafter(score.max(), 2)]])
    called = score[None, :] >= thresholds[:, None]
    return pd.DataFrame(
        {
            "threshold": thresholds,
            "sensitivity": called[:, label].mean(axis=1),
            "specificity": 1 - called[:, ~label].mean(axis=1),
        }
    )


# --- calibration and abstention ---------------------------------------------------------------------------


def reliability(step: Step, result: Results) -> Figure:
    """Reliability of the network before and after recalibration."""
    frames = []
    for method in ("none", RECALIBRATION):
        y, p, _ = pooled(recalibrate(result.cases["network"], method))
        bins = reliability_curve(y, p, level=result.settings.level)
        frames.append(
            pd.DataFrame(
                {
                    "label": METHODS[method],
                    "x": [point.details["mean_probability"] for point in bins],
                    "y": [point.estimate for point in bins],
                    "low": [point.low for point in bins],
                    "high": [point.high for point in bins],
                    "images": [point.n["cases"] for point in bins],
                }
            )
        )
    data = pd.concat(frames, ignore_index=True)
    spoken = "; ".join(
        f"{row.label}, {row.images} images of mean probability {row.x:.2f}: observed {row.y:.2f}"
        for row in data.itertuples()
    )
    return step.figure(
        f"utility_reliability_{result.task}",
        figures.unit_curves(data, xlabel="Predicted probability", ylabel="Observed share", diagonal=True),
        alt=f"Reliability curves of {result.label('network')}. {spoken}.",
        caption=(
            f"Reliability of {result.label('network')} on test images, as predicted and after Platt scaling "
            "on "
            f"validation images, in ten bins with {result.settings.level:.0%} Wilson bands. On the dashed "
            "line "
            "probabilities mean what they say."
        ),
        data=data,
    )


def calibration_table(step: Step, result: Results) -> Table:
    """Measures of calibration of both models, by way of recalibration."""
    rows = [
        {"Model": result.label(role), "Probabilities": METHODS[method]}
        | {
            CALIBRATION[name]: found
            for name, found in measures(
                recalibrate(result.cases[role], method), level=result.settings.level
            ).items()
            if name in CALIBRATION
        }
        for role in ROLES
        for method in METHODS
    ]
    frame = pd.DataFrame(rows)
    frame = frame[["Model", "Probabilities", *CALIBRATION.values()]]
    return step.table(
        f"utility_calibration_{result.task}",
        frame,
        caption=(
            "Calibration on test images of probabilities as predicted and recalibrated on validation images, "
            f"with {result.settings.level:.0%} intervals robust to patients. Right are a slope of 1 and a "
            "calibration in the large of 0; several classes are pooled as questions of one against the rest."
        ),
    )


def risk_coverage(step: Step, result: Results) -> Figure:
    """Error among the images that the model does not hand over."""
    data = pd.concat(
        [
            found.curve.rename(columns={"coverage": "x", "risk": "y"}).assign(label=result.label(role))
            for role, found in result.abstention.items()
        ],
        ignore_index=True,
    )
    spoken = "; ".join(
        f"{result.label(role)}: error {found.error.estimate:.3f} on all images, "
        f"{found.error_80.estimate:.3f} on "
        f"the four fifths it is most certain of, area under the curve {found.aurc.estimate:.3f}"
        for role, found in result.abstention.items()
    )
    top = float(data["high"].max())
    return step.figure(
        f"utility_abstention_{result.task}",
        figures.lines(
            data,
            xlabel="Share of images that the model decides",
            ylabel="Share of these decided wrongly",
            ylim=(0.0, 1.05 * top),
        ),
        alt=f"Risk-coverage curves. {spoken}.",
        caption=(
            "Error among the images a model is most certain of, the others being left to a person, with "
            "pointwise "
            f"{result.settings.level:.0%} bands that resample patients."
        ),
        data=data,
    )


def conformal_table(step: Step, result: Results) -> Table:
    """Measured coverage of the network's conformal sets, by class."""
    sets = result.conformal
    rows: list[dict[str, Any]] = [
        {"What": f"Sets of {name} images that hold it", "Share": found}
        for name, found in sets.coverage.items()
    ]
    rows += [
        {"What": "Sets of exactly one class", "Share": sets.single},
        {"What": "Empty sets", "Share": sets.empty},
    ]
    return step.table(
        f"utility_conformal_{result.task}",
        pd.DataFrame(rows),
        caption=(
            f"Conformal sets of {result.label('network')} that are to hold the right class of "
            f"{1 - result.settings.alpha:.0%} of the images of each class, calibrated on validation images; "
            f"measured on test images with {result.settings.level:.0%} intervals robust to patients."
        ),
    )


# --- small lesions ------------------------------------------------------------------------------------------


def with_lesions(results: Mapping[str, Results]) -> dict[str, Results]:
    """Results of the tasks whose lesions have boxes."""
    return {task: result for task, result in results.items() if result.lesions}


def lesion_forest(step: Step, result: Results) -> Figure:
    """Sensitivity by third of the lesions' sizes."""
    low, high = result.lesions["network"].limits
    sizes = dict(
        zip(
            THIRDS,
            (f"below {low:.0f} px", f"{low:.0f} to {high:.0f} px", f"above {high:.0f} px"),
            strict=True,
        )
    )
    data = pd.DataFrame(
        [
            _row(
                found.sensitivity[third],
                label=f"{third.capitalize()} lesions, {sizes[third]}",
                group=result.label(role),
                lesions=found.n[third],
                auc=found.auc[third].estimate,
                auc_low=found.auc[third].low,
                auc_high=found.auc[third].high,
            )
            for third in THIRDS
            for role, found in result.lesions.items()
        ]
    )
    return step.figure(
        f"utility_lesions_{result.task}",
        figures.forest(data, xlabel=f"Sensitivity ({result.settings.level:.0%} CI)"),
        alt="Forest plot of the sensitivity by size of the lesion. "
        f"{_spoken(data.assign(label=data['label'] + ', ' + data['group']))}.",
        caption=(
            "Sensitivity by size of the lesion, the square root of its box's area in pixels of the original "
            f"image, at a specificity of {percent(result.settings.specificity)} fixed on validation images; "
            "intervals robust to patients. The CSV file has the AUC of each third against all images "
            "without a "
            "lesion."
        ),
        data=data,
    )


# --- numbers ------------------------------------------------------------------------------------------------


def record(step: Step, result: Results) -> None:
    """Record a task's numbers."""
    task, network = result.task, result.label("network")
    if task in decided({task: result}):
        first = next(iter(result.assumed("threshold").values()))
        note(
            step,
            f"utility.benefit.{task}.network",
            scaled(result.benefit("network", first.value), 1000),
            digits=1,
        )
        difference = result.gain(first.value)
        if difference is not None:
            note(step, f"utility.benefit.{task}.difference", scaled(difference, 1000), digits=1)
    for when, method in (("before", "none"), ("after", RECALIBRATION)):
        found = measures(recalibrate(result.cases["network"], method), level=result.settings.level)
        for name in ("brier", "slope"):
            note(step, f"utility.calibration.{task}.{name}_{when}", found[name])
    point = result.points["network"]["sensitivity"]
    note(step, f"utility.points.{task}.sensitivity", point.sensitivity)
    note(step, f"utility.points.{task}.specificity", point.specificity)
    if result.prevalence is not None:
        ppv, npv = point.predictive_values(result.prevalence.value, level=result.settings.level)
        note(step, f"utility.points.{task}.ppv", ppv)
        note(step, f"utility.points.{task}.npv", npv)
    abstained = result.abstention["network"]
    note(step, f"utility.abstention.{task}.error", abstained.error)
    note(step, f"utility.abstention.{task}.error_80", abstained.error_80)
    note(step, f"utility.abstention.{task}.aurc", abstained.aurc)
    least = min(result.conformal.coverage.values(), key=lambda share: share.estimate)
    note(step, f"utility.conformal.{task}.coverage", least)
    note(step, f"utility.conformal.{task}.single", result.conformal.single)
    if result.lesions:
        lesions = result.lesions["network"]
        for third in ("small", "large"):
            note(step, f"utility.lesions.{task}.{third}", lesions.sensitivity[third])
        if lesions.trend is not None:
            ratio, low, high = lesions.trend.details["odds_ratio"]
            note(
                step,
                f"utility.lesions.{task}.trend",
                replace(lesions.trend, estimate=ratio, low=low, high=high),
                description=f"{task_label(task)}: odds ratio of being found for twice the size, {network}",
                digits=2,
            )
        note(
            step,
            f"utility.lesions.{task}.small_gain",
            result.small_gain(),
            description=(
                f"{task_label(task)}: AUC on the smallest third of the lesions, {network} − "
                f"{result.label('traditional')}"
            ),
        )


def note(
    step: Step, key: str, value: Estimate | None, *, digits: int = 3, unit: str = "", description: str = ""
) -> None:
    """Record an estimate, if there is one."""
    if value is not None:
        step.number(key, value, digits=digits, unit=unit, description=description)
