"""Command line ``radtransfer stats``: the library on your own CSV files, columns named by options.

Every command prints a table, or with ``--json`` one JSON object. An error is one line on standard error and
exit status 2.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pandas as pd
import typer
from numpy.typing import NDArray
from typer.core import TyperGroup

if TYPE_CHECKING:
    from radtransfer.stats.result import Estimate

MISSING = ["", "NA", "N/A", "NaN", "nan", "NULL", "null"]


class OneLineErrors(TyperGroup):
    """Command group that reports wrong input in one line with exit status 2."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run, and turn errors of usage, files and statistics into a line."""
        given = list(sys.argv[1:] if args is None else args) or ["--help"]
        try:
            status = super().main(given, prog_name, complete_var, False, windows_expand_args, **extra)
        except typer.Abort:
            sys.exit(130)
        except BrokenPipeError:  # the reader of our output has left
            sys.exit(1)
        except (typer.TyperException, ValueError, OSError) as error:
            text = error.format_message() if hasattr(error, "format_message") else str(error)
            typer.echo(f"error: {' '.join(text.split())}", err=True)
            sys.exit(2)
        if standalone_mode:
            sys.exit(status if isinstance(status, int) else 0)
        return status


app = typer.Typer(
    cls=OneLineErrors,
    help="Statistics of diagnostic accuracy for your own tables.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

InputOption = Annotated[Path, typer.Option("--input", help="CSV file with a header.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
LevelOption = Annotated[float, typer.Option(help="Confidence level.")]
TruthOption = Annotated[str, typer.Option("--truth", "--label", help="Column of the reference standard.")]
OptionalTruth = Annotated[
    str | None, typer.Option("--truth", "--label", help="Column of the reference standard.")
]
PositiveOption = Annotated[
    str | None, typer.Option(help="Value of the reference standard that means present, if it is not 0/1.")
]
ClusterOption = Annotated[str | None, typer.Option(help="Column of the patient, when patients recur.")]
ProbabilityOption = Annotated[
    str, typer.Option("--probability", "--score", help="Column of the predicted probability.")
]


# --- tables in --------------------------------------------------------------------------------------------


class Table:
    """A CSV file whose columns are asked for by name.

    Parameters
    ----------
    path : Path
        CSV file with a header, UTF-8. Empty cells, NA and NaN are missing values.

    Raises
    ------
    ValueError
        If the file is absent, empty, or not a CSV table.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise ValueError(f"{path}: no such file")
        try:
            self._frame = pd.read_csv(
                path, dtype=str, keep_default_na=False, na_values=MISSING, skipinitialspace=True
            )
        except pd.errors.EmptyDataError:
            raise ValueError(f"{path} is empty") from None
        except UnicodeDecodeError:
            raise ValueError(f"{path} is not text in UTF-8") from None
        except pd.errors.ParserError as error:
            raise ValueError(f"{path} is not a CSV table: {error}") from None
        self._frame.columns = [str(column).strip() for column in self._frame.columns]
        if self._frame.empty:
            raise ValueError(f"{path} has a header and no rows")
        self.path = path

    def __len__(self) -> int:
        return len(self._frame)

    def text(self, column: str, *, missing: bool = False) -> NDArray[np.object_]:
        """Column as text, None where missing; a missing value is an error unless ``missing`` allows it."""
        if column not in self._frame:
            known = {str(name).lower(): str(name) for name in self._frame.columns}
            near = get_close_matches(column.lower(), known, n=1, cutoff=0.3)
            hint = f"did you mean {known[near[0]]!r}?" if near else f"columns: {', '.join(known.values())}"
            raise ValueError(f"{self.path} has no column {column!r} ({hint})")
        values = self._frame[column]
        if not missing and values.isna().any():
            raise ValueError(f"{self.path}: column {column!r} is empty on line {self._line(values.isna())}")
        return np.array([None if pd.isna(value) else str(value).strip() for value in values], dtype=object)

    def categories(self, *columns: str, missing: bool = False) -> list[NDArray[np.object_]]:
        """Columns on one scale: numbers if all are numbers, so that 1 and 1.0 are one category, else text."""
        texts = [self.text(column, missing=missing) for column in columns]
        try:
            return [
                np.array([None if value is None else float(value) for value in text], dtype=object)
                for text in texts
            ]
        except ValueError:
            return texts

    def numbers(self, column: str) -> NDArray[np.float64]:
        """Column as finite numbers."""
        text = self.text(column)
        values = pd.to_numeric(pd.Series(text), errors="coerce")
        if values.isna().any():
            row = int(np.flatnonzero(values.isna())[0])
            raise ValueError(
                f"{self.path}: {text[row]!r} in column {column!r}, line {row + 2}, is not a number"
            )
        if not np.isfinite(values).all():
            raise ValueError(
                f"{self.path}: column {column!r} is infinite on line {self._line(~np.isfinite(values))}"
            )
        return values.to_numpy(dtype=float)

    def binary(
        self, column: str, *, positive: str | None = None, two_classes: bool = False
    ) -> NDArray[np.int64]:
        """Column as 0 and 1; ``positive`` names the value that means 1."""
        text = self.text(column)
        if positive is not None:
            values = np.asarray(text == positive, dtype=np.int64)
            if not values.any():
                raise ValueError(f"{self.path}: no {positive!r} in column {column!r} (values: {_some(text)})")
        else:
            try:
                numbers = np.array([float(value) for value in text])
            except ValueError:
                raise ValueError(
                    f"{self.path}: column {column!r} is not 0 and 1 (values: {_some(text)}); "
                    "name the one that means present with --positive"
                ) from None
            wrong = ~np.isin(numbers, (0.0, 1.0))
            if wrong.any():
                row = int(np.flatnonzero(wrong)[0])
                raise ValueError(
                    f"{self.path}: {text[row]!r} in column {column!r}, line {row + 2}, is neither 0 nor 1"
                )
            values = np.asarray(numbers, dtype=np.int64)
        if two_classes and values.min() == values.max():
            raise ValueError(f"{self.path}: column {column!r} has one class only; two are needed")
        return values

    def cluster(self, column: str | None) -> NDArray[np.object_] | None:
        """Column of cluster labels, if one is named."""
        return None if column is None else self.text(column)

    @staticmethod
    def _line(where: Any) -> int:
        return int(np.flatnonzero(np.asarray(where))[0]) + 2  # the header is line 1


def _some(values: Sequence[Any] | NDArray[np.object_]) -> str:
    names = sorted({str(value) for value in values})
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")


def _split(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


# --- results out ------------------------------------------------------------------------------------------


def _record(estimate: Estimate, size: int) -> dict[str, Any]:
    """An estimate as JSON: ``n`` is the number of rows, counts by unit are beside it."""
    return estimate.to_dict() | {"n": size, "counts": dict(estimate.n)}


def _row(estimate: Estimate) -> list[str]:
    interval = (
        "" if estimate.low is None or estimate.high is None else f"{estimate.low:.4g} to {estimate.high:.4g}"
    )
    return [estimate.name, f"{estimate.estimate:.4g}", interval, _p(estimate.p_value)]


def _p(p_value: float | None) -> str:
    return "" if p_value is None else "< .0001" if p_value < 1e-4 else f"{p_value:.4f}"


def _print_rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable

    console = Console()
    if not console.is_terminal:  # a file or a pipe: nothing to fit, nothing to draw
        console = Console(width=10_000)
    table = RichTable(box=box.SIMPLE if console.is_terminal else None, pad_edge=False)
    for number, name in enumerate(header):
        table.add_column(name, justify="left" if number == 0 else "right", no_wrap=not console.is_terminal)
    for row in rows:
        table.add_row(*row)
    console.print(table, markup=False, highlight=False)


def _print(estimates: Sequence[Estimate], *notes: str) -> None:
    level = f"{estimates[0].level:.0%} interval"
    _print_rows(["", "estimate", level, "p"], [_row(estimate) for estimate in estimates])
    counts = ", ".join(f"{count} {unit}" for unit, count in estimates[0].n.items())
    for line in (counts, estimates[0].method, *notes):
        if line:
            typer.echo(line)


def _emit(as_json: bool, record: dict[str, Any], estimates: Sequence[Estimate], *notes: str) -> None:
    if as_json:
        typer.echo(json.dumps(record, allow_nan=False))
    else:
        _print(estimates, *notes)


# --- one test, two tests ----------------------------------------------------------------------------------


class IntervalChoice(StrEnum):
    """Interval of an AUC."""

    WALD = "wald"
    LOGIT = "logit"


@app.command()
def auc(
    input_file: InputOption,
    truth: TruthOption,
    score: Annotated[str, typer.Option(help="Column of the score; higher is more suspicious.")],
    interval: Annotated[
        IntervalChoice, typer.Option(help="logit covers better when the AUC is high.")
    ] = IntervalChoice.WALD,
    positive: PositiveOption = None,
    cluster: ClusterOption = None,
    level: LevelOption = 0.95,
    as_json: JsonOption = False,
) -> None:
    """AUC with its DeLong interval, or Obuchowski's when patients recur."""
    from radtransfer.stats import auc as library

    table = Table(input_file)
    y, values = table.binary(truth, positive=positive, two_classes=True), table.numbers(score)
    clusters = table.cluster(cluster)
    if clusters is None:
        result = library.auc(y, values, level=level, interval=interval.value)
    else:
        result = library.clustered_auc(y, values, cluster=clusters, level=level, interval=interval.value)
    _emit(as_json, _record(result, len(table)), [result])


@app.command("compare-auc")
def compare_auc(
    input_file: InputOption,
    truth: TruthOption,
    score_a: Annotated[str, typer.Option(help="Column of the first score.")],
    score_b: Annotated[str, typer.Option(help="Column of the second score.")],
    positive: PositiveOption = None,
    cluster: ClusterOption = None,
    level: LevelOption = 0.95,
    as_json: JsonOption = False,
) -> None:
    """Difference of two AUCs on the same cases (paired DeLong, or Obuchowski when patients recur)."""
    from radtransfer.stats import auc as library

    table = Table(input_file)
    y = table.binary(truth, positive=positive, two_classes=True)
    first, second = table.numbers(score_a), table.numbers(score_b)
    result = library.compare_auc(y, first, second, cluster=table.cluster(cluster), level=level)
    areas = ", ".join(
        f"{name} {result.details[key]:.4f}" for name, key in ((score_a, "auc_a"), (score_b, "auc_b"))
    )
    _emit(as_json, _record(result, len(table)), [result], f"AUC: {areas}")


class ProportionChoice(StrEnum):
    """Proportion of diagnostic accuracy."""

    SENSITIVITY = "sensitivity"
    SPECIFICITY = "specificity"
    PPV = "ppv"
    NPV = "npv"
    ACCURACY = "accuracy"


class ProportionMethod(StrEnum):
    """Interval of a proportion."""

    WILSON = "wilson"
    CLOPPER_PEARSON = "clopper_pearson"


@app.command()
def proportion(
    input_file: InputOption,
    decision: Annotated[
        str, typer.Option("--decision", "--outcome", help="Column of the call, or of any 0/1 outcome.")
    ],
    truth: OptionalTruth = None,
    measure: Annotated[ProportionChoice, typer.Option(help="With --truth.")] = ProportionChoice.ACCURACY,
    method: Annotated[ProportionMethod, typer.Option(help="Interval.")] = ProportionMethod.WILSON,
    positive: PositiveOption = None,
    cluster: ClusterOption = None,
    level: LevelOption = 0.95,
    as_json: JsonOption = False,
) -> None:
    """A proportion with its interval: of ones, or with --truth of right calls of one kind."""
    from radtransfer.stats import proportions as library

    table = Table(input_file)
    called = table.binary(decision)
    name, success, trial = "proportion", called, np.ones_like(called)
    if truth is not None:
        name = measure.value
        success, trial = _success_and_trial(name, table.binary(truth, positive=positive), called)
    if not trial.any():
        raise ValueError(f"{table.path}: {name} is 0/0: no row of the kind it counts")
    clusters = table.cluster(cluster)
    if clusters is not None:
        result = library.clustered_proportion(
            success, trial, cluster=clusters, method=method.value, level=level, name=name
        )
    else:
        plain = library.proportion(int(success.sum()), int(trial.sum()), method=method.value, level=level)
        result = replace(plain, name=name)
    _emit(as_json, _record(result, len(table)) | {"successes": int(success.sum())}, [result])


def _success_and_trial(
    measure: str, truth: NDArray[np.int64], called: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which rows a measure counts, and which of them it counts as right."""
    trial = {
        "accuracy": np.ones_like(truth),
        "sensitivity": truth,
        "specificity": 1 - truth,
        "ppv": called,
        "npv": 1 - called,
    }[measure]
    return trial * (truth == called), trial


class McNemarChoice(StrEnum):
    """Version of McNemar's test."""

    EXACT = "exact"
    MIDP = "midp"
    ASYMPTOTIC = "asymptotic"
    CORRECTED = "corrected"


class PairedMeasure(StrEnum):
    """What two sets of calls are compared in."""

    ACCURACY = "accuracy"
    SENSITIVITY = "sensitivity"
    SPECIFICITY = "specificity"


@app.command()
def mcnemar(
    input_file: InputOption,
    decision_a: Annotated[str, typer.Option(help="Column of the first test's call.")],
    decision_b: Annotated[str, typer.Option(help="Column of the second test's call.")],
    truth: OptionalTruth = None,
    measure: Annotated[PairedMeasure, typer.Option(help="With --truth.")] = PairedMeasure.ACCURACY,
    test: Annotated[
        McNemarChoice, typer.Option("--test", "--method", help="Not with --cluster.")
    ] = McNemarChoice.EXACT,
    positive: PositiveOption = None,
    cluster: ClusterOption = None,
    level: LevelOption = 0.95,
    as_json: JsonOption = False,
) -> None:
    """Compare two tests' calls on the same cases: shares of positive calls, or with --truth of right ones."""
    from radtransfer.stats import paired as library

    table = Table(input_file)
    first, second = table.binary(decision_a), table.binary(decision_b)
    kept = np.ones(len(table), dtype=bool)
    name = "difference in positive calls"
    if truth is not None:
        y = table.binary(truth, positive=positive)
        name = f"difference in {measure.value}"
        kept = _success_and_trial(measure.value, y, first)[1] == 1
        if not kept.any():
            raise ValueError(f"{table.path}: {measure.value} is 0/0: no row of the kind it counts")
        first, second = (np.asarray(call == y, dtype=np.int64) for call in (first, second))
    first, second = first[kept], second[kept]
    clusters = table.cluster(cluster)
    if clusters is not None:
        result = library.clustered_mcnemar(first, second, cluster=clusters[kept], level=level)
    else:
        b, c, n = library.discordant_pairs(first, second)
        result = library.mcnemar(b, c, n=n, method=test.value, level=level)
    result = replace(result, name=name)
    b, c = result.details["b"], result.details["c"]
    _emit(
        as_json, _record(result, int(kept.sum())), [result], f"{b} cases only the first, {c} only the second"
    )


# --- agreement --------------------------------------------------------------------------------------------


class Weighting(StrEnum):
    """Disagreement weights of kappa."""

    NONE = "none"
    LINEAR = "linear"
    QUADRATIC = "quadratic"


@app.command()
def kappa(
    input_file: InputOption,
    rater_a: Annotated[str, typer.Option(help="Column of the first rater.")],
    rater_b: Annotated[str, typer.Option(help="Column of the second rater.")],
    weights: Annotated[
        Weighting, typer.Option(help="Weights of disagreement, for ordered categories.")
    ] = Weighting.NONE,
    labels: Annotated[str | None, typer.Option(help="The scale in order, separated by commas.")] = None,
    cluster: ClusterOption = None,
    level: LevelOption = 0.95,
    as_json: JsonOption = False,
) -> None:
    """Cohen's kappa of two raters, unweighted or weighted, with Gwet's AC1 beside it."""
    from radtransfer.stats.agreement import cohen_kappa, gwet_ac1, rating_counts

    table = Table(input_file)
    first, second = table.categories(rater_a, rater_b)
    scale = None if labels is None else _split(labels)
    clusters = table.cluster(cluster)
    result = cohen_kappa(first, second, labels=scale, weights=weights.value, cluster=clusters, level=level)
    counts, _ = rating_counts(np.stack([first, second], axis=1), labels=scale)
    ac1 = gwet_ac1(counts, cluster=clusters, level=level)
    agreement = float(np.mean(first == second))
    record = _record(result, len(table)) | {"percent_agreement": 100 * agreement, "gwet_ac1": ac1.to_dict()}
    _emit(as_json, record, [result, ac1], f"observed agreement {agreement:.1%}")


class Coefficient(StrEnum):
    """Agreement coefficient of many raters."""

    FLEISS = "fleiss"
    AC1 = "ac1"
    CONGER = "conger"
    KRIPPENDORFF = "krippendorff"


class Measurement(StrEnum):
    """Level of measurement of Krippendorff's alpha."""

    NOMINAL = "nominal"
    ORDINAL = "ordinal"
    INTERVAL = "interval"
    RATIO = "ratio"


@app.command()
def fleiss(
    input_file: InputOption,
    raters: Annotated[
        str | None, typer.Option(help="Columns of the raters, separated by commas (one row per subject).")
    ] = None,
    subject: Annotated[str | None, typer.Option(help="Column of the subject (one row per rating).")] = None,
    rater: Annotated[str | None, typer.Option(help="Column of the rater (one row per rating).")] = None,
    rating: Annotated[str | None, typer.Option(help="Column of the rating (one row per rating).")] = None,
    coefficient: Annotated[
        Coefficient, typer.Option(help="All but fleiss allow missing ratings.")
    ] = Coefficient.FLEISS,
    measurement: Annotated[Measurement, typer.Option(help="For krippendorff.")] = Measurement.NOMINAL,
    labels: Annotated[str | None, typer.Option(help="The scale in order, separated by commas.")] = None,
    cluster: ClusterOption = None,
    level: LevelOption = 0.95,
    as_json: JsonOption = False,
) -> None:
    """Agreement of three or more raters: Fleiss' kappa, Gwet's AC1, Conger's kappa, Krippendorff's alpha."""
    from radtransfer.stats.agreement import (
        conger_kappa,
        fleiss_kappa,
        gwet_ac1,
        krippendorff_alpha,
        rating_counts,
    )

    table = Table(input_file)
    if raters is not None:
        columns = _split(raters)
        if len(columns) < 2:
            raise ValueError("--raters names fewer than two columns")
        ratings = np.stack(table.categories(*columns, missing=True), axis=1)
        clusters = table.cluster(cluster)
    elif subject is not None and rater is not None and rating is not None:
        if cluster is not None:
            raise ValueError("--cluster goes with --raters, one row per subject")
        ratings, clusters = (
            _wide(table.text(subject), table.text(rater), table.text(rating, missing=True)),
            None,
        )
    else:
        raise ValueError("give --raters A,B,C (one row per subject) or --subject, --rater and --rating")
    scale = None if labels is None else _split(labels)
    if coefficient in (Coefficient.FLEISS, Coefficient.AC1):
        counts, _ = rating_counts(ratings, labels=scale)
        function = fleiss_kappa if coefficient is Coefficient.FLEISS else gwet_ac1
        result = function(counts, cluster=clusters, level=level)
    elif clusters is not None:
        raise ValueError(f"--cluster is not available for {coefficient.value}")
    elif coefficient is Coefficient.CONGER:
        result = conger_kappa(ratings, labels=scale, level=level)
    else:
        result = krippendorff_alpha(ratings, measurement=measurement.value, labels=scale, level=level)
    _emit(as_json, _record(result, len(ratings)) | {"n_raters": ratings.shape[1]}, [result])


def _wide(
    subject: NDArray[np.object_], rater: NDArray[np.object_], rating: NDArray[np.object_]
) -> NDArray[np.object_]:
    subjects, i = np.unique(subject.astype(str), return_inverse=True)
    raters, j = np.unique(rater.astype(str), return_inverse=True)
    cells, counts = np.unique(np.stack([i, j]), axis=1, return_counts=True)
    if (counts > 1).any():
        a, b = cells[:, counts > 1][:, 0]
        raise ValueError(f"rater {raters[b]} has two ratings of subject {subjects[a]}")
    ratings = np.full((len(subjects), len(raters)), None, dtype=object)
    ratings[i, j] = rating
    return ratings


# --- readers ----------------------------------------------------------------------------------------------


class Analysis(StrEnum):
    """Analysis of a multi-reader multi-case study."""

    OBUCHOWSKI_ROCKETTE = "or"
    DORFMAN_BERBAUM_METZ = "dbm"
    U_STATISTICS = "ustat"


class MetricChoice(StrEnum):
    """Accuracy measure of a reader."""

    AUC = "auc"
    PARTIAL_AUC = "partial_auc"
    SENSITIVITY = "sensitivity"
    SPECIFICITY = "specificity"


class CovarianceChoice(StrEnum):
    """Estimator of the error covariance."""

    JACKKNIFE = "jackknife"
    DELONG = "delong"
    UNBIASED = "unbiased"
    BOOTSTRAP = "bootstrap"


class EffectChoice(StrEnum):
    """What conclusions are to reach beyond (random) or stay within (fixed)."""

    RANDOM = "random"
    FIXED = "fixed"


@app.command()
def mrmc(
    input_file: InputOption,
    reader: Annotated[str, typer.Option(help="Column of the reader.")],
    case: Annotated[str, typer.Option(help="Column of the case.")],
    truth: TruthOption,
    rating: Annotated[str, typer.Option(help="Column of the rating; higher is more suspicious.")],
    modality: Annotated[
        str | None, typer.Option(help="Column of the modality; without it there is one.")
    ] = None,
    covariance: Annotated[
        CovarianceChoice, typer.Option(help="For the analysis 'or'.")
    ] = CovarianceChoice.JACKKNIFE,
    readers: Annotated[EffectChoice, typer.Option(help="Readers random or fixed.")] = EffectChoice.RANDOM,
    cases: Annotated[EffectChoice, typer.Option(help="Cases random or fixed.")] = EffectChoice.RANDOM,
    analysis: Annotated[
        Analysis,
        typer.Option("--analysis", "--method", help="Obuchowski-Rockette, pseudovalues, or U-statistics."),
    ] = Analysis.OBUCHOWSKI_ROCKETTE,
    metric: Annotated[MetricChoice, typer.Option(help="Accuracy measure.")] = MetricChoice.AUC,
    threshold: Annotated[
        float | None, typer.Option(help="Ratings at or above it are positive calls.")
    ] = None,
    min_specificity: Annotated[float, typer.Option(help="For the partial AUC.")] = 0.9,
    max_specificity: Annotated[float, typer.Option(help="For the partial AUC.")] = 1.0,
    positive: PositiveOption = None,
    n_resamples: Annotated[int, typer.Option(help="For the bootstrap covariance.")] = 2000,
    seed: Annotated[int, typer.Option(help="For the bootstrap covariance.")] = 0,
    level: LevelOption = 0.95,
    as_json: JsonOption = False,
) -> None:
    """Compare modalities read by several readers on several cases (one row per reading)."""
    from radtransfer.stats import mrmc as library

    table = Table(input_file)
    study = library.ReaderStudy.from_long(
        rating=table.numbers(rating),
        truth=table.binary(truth, positive=positive, two_classes=True),
        reader=table.text(reader),
        case=table.text(case),
        modality=None if modality is None else table.text(modality),
    )
    effects: dict[str, Any] = {"readers": readers.value, "cases": cases.value}
    measure: dict[str, Any] = {
        "metric": metric.value,
        "threshold": threshold,
        "specificity_range": (min_specificity, max_specificity),
    }
    if analysis is Analysis.DORFMAN_BERBAUM_METZ:
        result = library.dorfman_berbaum_metz(study, **measure, **effects, level=level)
    elif analysis is Analysis.U_STATISTICS:
        if metric is not MetricChoice.AUC or "fixed" in effects.values():
            raise ValueError("the U-statistics are for the AUC with random readers and cases")
        result = library.u_statistics(study, level=level)
    else:
        result = library.obuchowski_rockette(
            study,
            **measure,
            **effects,
            covariance=covariance.value,
            level=level,
            n_resamples=n_resamples,
            seed=seed,
        )
    if as_json:
        typer.echo(result.to_json())
        return
    typer.echo(result.method)
    names = list(study.readers)
    values = {(value["reader"], value["modality"]): value[metric.value] for value in result.values}
    _print_rows(
        [metric.value, *study.modalities],
        [[f"reader {name}", *(f"{values[name, m]:.4f}" for m in study.modalities)] for name in names],
    )
    estimates = [*result.means, *result.differences]
    _print_rows(["", "estimate", f"{level:.0%} interval", "p"], [_row(estimate) for estimate in estimates])
    for line in (
        result.test_text,
        ", ".join(f"{count} {unit}" for unit, count in result.n.items()),
        *result.notes,
    ):
        typer.echo(line)


# --- probabilities ----------------------------------------------------------------------------------------


@app.command()
def calibration(
    input_file: InputOption,
    truth: TruthOption,
    probability: ProbabilityOption,
    bins: Annotated[int, typer.Option(help="Bins of the reliability curve and the calibration error.")] = 10,
    external: Annotated[
        bool, typer.Option("--external", help="The model was not fitted to these cases (Hosmer-Lemeshow).")
    ] = False,
    positive: PositiveOption = None,
    cluster: ClusterOption = None,
    level: LevelOption = 0.95,
    as_json: JsonOption = False,
) -> None:
    """Calibration slope, calibration in the large, Brier score, calibration error, reliability curve."""
    from radtransfer.stats import calibration as library

    table = Table(input_file)
    y = table.binary(truth, positive=positive, two_classes=True)
    p = table.numbers(probability)
    clusters = table.cluster(cluster)
    slope = library.calibration_slope(y, p, cluster=clusters, level=level)
    large = library.calibration_in_the_large(y, p, cluster=clusters, level=level)
    brier = library.brier_score(y, p, cluster=clusters, level=level)
    error = library.expected_calibration_error(y, p, n_bins=bins)
    curve = library.reliability_curve(y, p, n_bins=bins, level=level)
    estimates = [slope, large, brier, error]
    notes: list[str] = []
    fit: Estimate | None = None
    try:
        fit = library.hosmer_lemeshow(y, p, n_groups=bins, model="external" if external else "fitted")
        estimates.append(fit)
    except ValueError as reason:  # the other measures stand without it
        notes.append(f"no Hosmer-Lemeshow test: {reason}")
    record = _record(slope, len(table)) | {
        "calibration_in_the_large": large.to_dict(),
        "brier": brier.to_dict() | {"decomposition": library.brier_decomposition(y, p, n_bins=bins)},
        "expected_calibration_error": error.to_dict(),
        "hosmer_lemeshow": None if fit is None else fit.to_dict(),
        "reliability": [point.to_dict() for point in curve],
        "notes": notes,
    }
    _emit(as_json, record, estimates, *notes)
    if not as_json:
        header = ["mean probability", "event rate", f"{level:.0%} interval", "cases"]
        rows = [[f"{q.details['mean_probability']:.3f}", *_row(q)[1:3], str(q.n["cases"])] for q in curve]
        _print_rows(header, rows)


@app.command("net-benefit")
def net_benefit(
    input_file: InputOption,
    truth: TruthOption,
    probability: ProbabilityOption,
    threshold: Annotated[
        str, typer.Option("--threshold", "--thresholds", help="Threshold probabilities, separated by commas.")
    ],
    against: Annotated[
        str | None, typer.Option(help="Column of a second model's probability: give the difference.")
    ] = None,
    positive: PositiveOption = None,
    cluster: ClusterOption = None,
    level: LevelOption = 0.95,
    as_json: JsonOption = False,
) -> None:
    """Net benefit of acting on a prediction at threshold probabilities, beside treating all and none."""
    from radtransfer.stats import net_benefit as library

    table = Table(input_file)
    y, p = table.binary(truth, positive=positive), table.numbers(probability)
    clusters = table.cluster(cluster)
    try:
        thresholds = [float(value) for value in _split(threshold)]
    except ValueError:
        raise ValueError(f"--threshold {threshold!r} is not a list of numbers") from None
    curve = library.decision_curve(y, p, thresholds=thresholds, cluster=clusters, level=level)
    estimates: list[Estimate] = list(curve.points)
    record = _record(estimates[0], len(table)) | {"curve": curve.to_rows()}
    if against is not None:
        other = table.numbers(against)
        differences = [
            library.net_benefit_difference(y, p, other, threshold=t, cluster=clusters, level=level)
            for t in thresholds
        ]
        record |= {"p_value": differences[0].p_value, "differences": [item.to_dict() for item in differences]}
        estimates.extend(differences)
    treat_all = ", ".join(f"{point.details['treat_all']:.4g}" for point in curve.points)
    _emit(as_json, record, estimates, f"treat all: {treat_all}; treat none: 0")


# --- discrepancies ----------------------------------------------------------------------------------------


class RegressionChoice(StrEnum):
    """How discrepancies are regressed."""

    AUTO = "auto"
    LOGISTIC = "logistic"
    GEE = "gee"
    FIRTH = "firth"


@app.command()
def discrepancy(
    input_file: InputOption,
    predictors: Annotated[
        str,
        typer.Option(help="Columns, separated by commas; a column that is not numeric becomes indicators."),
    ],
    outcome: Annotated[str | None, typer.Option(help="Column that is 1 where the readings differ.")] = None,
    decision_a: Annotated[
        str | None, typer.Option(help="Column of one reading, instead of --outcome.")
    ] = None,
    decision_b: Annotated[str | None, typer.Option(help="Column of the other reading.")] = None,
    method: Annotated[
        RegressionChoice, typer.Option(help="auto: logistic, or Firth if separated.")
    ] = RegressionChoice.AUTO,
    cluster: ClusterOption = None,
    level: LevelOption = 0.95,
    as_json: JsonOption = False,
) -> None:
    """What explains where two readings differ: logistic regression with clusters and separation handled."""
    from radtransfer.stats.discrepancy import discrepancy_regression

    table = Table(input_file)
    if outcome is not None and decision_a is None and decision_b is None:
        differs = table.binary(outcome)
    elif outcome is None and decision_a is not None and decision_b is not None:
        first_reading, second_reading = table.categories(decision_a, decision_b)
        differs = (first_reading != second_reading).astype(np.int64)
    else:
        raise ValueError("give --outcome, or --decision-a and --decision-b")
    names: list[str] = []
    columns: list[NDArray[np.float64]] = []
    for name in _split(predictors):
        for label, values in _indicators(table, name):
            names.append(label)
            columns.append(values)
    if not columns:
        raise ValueError("--predictors names no column")
    result = discrepancy_regression(
        differs,
        np.column_stack(columns),
        names=names,
        cluster=table.cluster(cluster),
        method=method.value,
        level=level,
    )
    first = result.terms[1]
    if as_json:
        typer.echo(
            json.dumps(_record(first, len(table)) | result.to_dict() | {"n": len(table), "counts": result.n})
        )
        return
    rows = []
    for term in result.terms:
        ratio, low, high = term.details["odds_ratio"]
        rows.append([term.name, f"{ratio:.4g}", f"{low:.4g} to {high:.4g}", _p(term.p_value)])
    _print_rows(["", "odds ratio", f"{level:.0%} interval", "p"], rows)
    for line in (
        ", ".join(f"{count} {unit}" for unit, count in result.n.items()),
        result.method,
        *result.notes,
    ):
        typer.echo(line)


def _indicators(table: Table, name: str) -> list[tuple[str, NDArray[np.float64]]]:
    """A numeric column as it is, another as indicators against its first value."""
    text = table.text(name)
    try:
        return [(name, np.array([float(value) for value in text]))]
    except ValueError:
        values = sorted(set(text))
    if len(values) > 20:
        raise ValueError(f"column {name!r} has {len(values)} different texts; at most 20 can be categories")
    if len(values) == 1:
        raise ValueError(f"predictor {name} is constant")
    return [(f"{name}={value}", (text == value).astype(float)) for value in values[1:]]
