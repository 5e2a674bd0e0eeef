r"""Analysis of a crossover reading study: accuracy, time and confidence, with and without assistance.

Time and confidence are paired within reader and case. Both readers and cases are samples, so that the mean of
the paired differences has the variance of a two-way layout,

.. math:: \widehat{\mathrm{var}}(\bar d) = \frac{MS_R + MS_C - MS_{RC}}{J K},

with Satterthwaite's degrees of freedom; *J* readers, *K* cases. Reading times are compared as logarithms, so
that the effect is a ratio.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats

from radtransfer.errors import InputError
from radtransfer.readers.design import (
    ANSWERS,
    CONDITIONS,
    assumed_components,
    cases_needed,
    phantom_lists,
)
from radtransfer.readers.phantoms import ASSISTED, UNASSISTED, AssistanceSpec, read_lists
from radtransfer.stats.mrmc import MRMCResult, ReaderStudy, obuchowski_rockette
from radtransfer.stats.proportions import proportion
from radtransfer.stats.result import Estimate

if TYPE_CHECKING:
    from pathlib import Path

NEEDED = ("reader", "session", "case", "condition", *ANSWERS)


def crossed_mean(difference: pd.DataFrame, *, name: str, level: float = 0.95) -> Estimate:
    """Mean of paired differences over readers and cases that are both random.

    Parameters
    ----------
    difference : DataFrame, shape (n_readers, n_cases)
        Complete.
    name : str
    level : float

    Returns
    -------
    Estimate
        A negative ``MS_R + MS_C - MS_RC`` is replaced by the larger of ``MS_R`` and ``MS_C``.

    Raises
    ------
    InputError
        If a cell is missing or there are fewer than two readers or cases.
    """
    d = difference.to_numpy(dtype=float)
    n_readers, n_cases = d.shape
    if min(n_readers, n_cases) < 2:
        raise InputError(f"{n_readers} readers and {n_cases} cases: two of each are needed")
    if not np.isfinite(d).all():
        reader, case = np.argwhere(~np.isfinite(d))[0]
        raise InputError(
            f"reader {difference.index[reader]} has not read case {difference.columns[case]} twice",
            hint="leave the case out for all readers, or have it read",
        )
    mean = float(d.mean())
    rows, columns = d.mean(axis=1) - mean, d.mean(axis=0) - mean
    rest = d - mean - rows[:, None] - columns
    dof = np.array([n_readers - 1, n_cases - 1, (n_readers - 1) * (n_cases - 1)])
    squares = np.array([n_cases * (rows**2).sum(), n_readers * (columns**2).sum(), (rest**2).sum()]) / dof
    total = float(squares[0] + squares[1] - squares[2])
    parts = np.array([1.0, 1.0, -1.0]) * squares
    if total < squares[:2].max():  # the estimate of the other factor's variance is negative: take it as 0
        largest = int(np.argmax(squares[:2]))
        total, parts = float(squares[largest]), np.array([squares[largest]])
        dof = dof[[largest]]
    se = math.sqrt(total / (n_readers * n_cases))
    if se == 0:
        return Estimate(
            name=name,
            estimate=mean,
            level=level,
            method="two-way layout; the differences do not vary, so there is no interval",
            n={"readers": n_readers, "cases": n_cases},
        )
    df = total**2 / float((parts**2 / dof).sum())
    half = float(stats.t.ppf(0.5 + level / 2, df)) * se
    return Estimate(
        name=name,
        estimate=mean,
        low=mean - half,
        high=mean + half,
        level=level,
        method="mean paired difference, random readers and cases, two-way layout, Satterthwaite",
        p_value=float(2 * stats.t.sf(abs(mean) / se, df)),
        statistic=mean / se,
        df=df,
        n={"readers": n_readers, "cases": n_cases},
        details={"se": se},
    )


@dataclass(frozen=True)
class Assistance:
    """What assistance changed.

    Parameters
    ----------
    auc, sensitivity, specificity : MRMCResult
        Assisted minus unassisted, random readers and cases.
    time_ratio : Estimate
        Reading time with assistance over that without (geometric mean).
    learning : Estimate
        Reading time in the second session over that in the first.
    confidence : Estimate
        Difference in confidence, points of the scale.
    more_confident : Estimate
        Share of readers whose mean confidence is higher with assistance.
    """

    auc: MRMCResult
    sensitivity: MRMCResult
    specificity: MRMCResult
    time_ratio: Estimate
    learning: Estimate
    confidence: Estimate
    more_confident: Estimate

    def estimates(self) -> dict[str, Estimate]:
        """Effects by name."""
        return {
            "auc": self.auc.difference,
            "sensitivity": self.sensitivity.difference,
            "specificity": self.specificity.difference,
            "time_ratio": self.time_ratio,
            "learning": self.learning,
            "confidence": self.confidence,
            "more_confident": self.more_confident,
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary that serialises to JSON."""
        return {
            "effects": {name: estimate.to_dict() for name, estimate in self.estimates().items()},
            "mrmc": {name: getattr(self, name).to_dict() for name in ("auc", "sensitivity", "specificity")},
        }

    def __str__(self) -> str:
        return "\n".join(str(estimate) for estimate in self.estimates().values())


def analyse(reads: pd.DataFrame, truth: pd.Series, *, level: float = 0.95) -> Assistance:
    """Analyse the reads of a crossover study.

    Parameters
    ----------
    reads : DataFrame
        Columns reader, session, case, condition ("unassisted" or "assisted"), rating, decision, seconds,
        confidence; one row per reading.
    truth : Series of {0, 1}
        Reference standard by case.
    level : float

    Returns
    -------
    Assistance

    Raises
    ------
    InputError
        If a column, a reading or a case's truth is missing, or an answer is impossible.
    """
    reads = _checked(reads, truth)
    label = truth.loc[reads["case"]].to_numpy()

    def mrmc(column: str, metric: Any) -> MRMCResult:
        study = ReaderStudy.from_long(
            rating=reads[column],
            truth=label,
            reader=reads["reader"],
            case=reads["case"],
            modality=reads["condition"],
        ).with_modalities((ASSISTED, UNASSISTED))
        return obuchowski_rockette(study, metric=metric, level=level)

    def paired(values: pd.Series, factor: str, first: object, second: object) -> pd.DataFrame:
        table = reads.assign(value=values).pivot(index=["reader", "case"], columns=factor, values="value")
        return (table[first] - table[second]).unstack("case")

    try:
        auc = mrmc("rating", "auc")
        sensitivity = mrmc("decision", "sensitivity")
        specificity = mrmc("decision", "specificity")
    except ValueError as error:
        raise InputError(str(error)) from error
    log_time = np.log(reads["seconds"])
    confidence = paired(reads["confidence"], "condition", ASSISTED, UNASSISTED)
    gained = int((confidence.mean(axis=1) > 0).sum())
    share = proportion(gained, len(confidence), level=level)
    return Assistance(
        auc=auc,
        sensitivity=sensitivity,
        specificity=specificity,
        time_ratio=_ratio(
            crossed_mean(
                paired(log_time, "condition", ASSISTED, UNASSISTED),
                name="reading time, assisted / unassisted",
                level=level,
            )
        ),
        learning=_ratio(
            crossed_mean(
                paired(log_time, "session", 2, 1), name="reading time, session 2 / session 1", level=level
            )
        ),
        confidence=crossed_mean(confidence, name="confidence, assisted - unassisted", level=level),
        more_confident=Estimate(
            name="share of readers more confident with assistance",
            estimate=share.estimate,
            low=share.low,
            high=share.high,
            level=level,
            method=f"{share.method}; by each reader's mean over cases",
            n={"readers": len(confidence)},
        ),
    )


@dataclass(frozen=True)
class Demonstration:
    """A phantom study from its design to its result.

    Parameters
    ----------
    spec : AssistanceSpec
        What was planted.
    cases_needed : Estimate
        Size for the planted difference in AUC.
    found : Assistance
        What the analysis recovered.
    """

    spec: AssistanceSpec
    cases_needed: Estimate
    found: Assistance

    @property
    def planted(self) -> dict[str, float]:
        """Planted effects, by the names of :meth:`Assistance.estimates`."""
        return {
            "auc": self.spec.assisted_auc - self.spec.auc,
            "time_ratio": self.spec.time_ratio,
            "learning": self.spec.learning,
        }


def demonstrate(spec: AssistanceSpec, *, level: float = 0.95) -> Demonstration:
    """Plan, read and analyse a study with phantom readers.

    Parameters
    ----------
    spec : AssistanceSpec
    level : float
    """
    lists, truth = phantom_lists(spec)
    return Demonstration(
        spec=spec,
        cases_needed=cases_needed(
            assumed_components(spec), difference=spec.assisted_auc - spec.auc, n_readers=spec.n_readers
        ),
        found=analyse(read_lists(lists, truth, spec), truth, level=level),
    )


def _ratio(log: Estimate) -> Estimate:
    return Estimate(
        name=log.name,
        estimate=math.exp(log.estimate),
        low=None if log.low is None else math.exp(log.low),
        high=None if log.high is None else math.exp(log.high),
        level=log.level,
        method=f"{log.method}, of log seconds",
        p_value=log.p_value,
        statistic=log.statistic,
        df=log.df,
        n=log.n,
    )


def _checked(reads: pd.DataFrame, truth: pd.Series) -> pd.DataFrame:
    missing = [name for name in NEEDED if name not in reads]
    if missing:
        raise InputError(f"the reads lack the columns {', '.join(missing)}")
    reads = reads.copy()
    for name in ("session", *ANSWERS):
        values = pd.to_numeric(reads[name], errors="coerce")
        if values.isna().any():
            row = reads.loc[values.isna()].iloc[0]
            given = "empty" if pd.isna(row[name]) or row[name] == "" else f"{row[name]!r}, not a number"
            raise InputError(
                f"{name} of reader {row['reader']}, case {row['case']}, session {row['session']} is {given}",
                hint="every row of every form must be filled in",
            )
        reads[name] = values
    allowed = {
        "condition": reads["condition"].isin(CONDITIONS),
        "session": reads["session"].isin([1, 2]),
        "rating": reads["rating"].between(0, 100),
        "decision": reads["decision"].isin([0, 1]),
        "seconds": reads["seconds"] > 0,
        "confidence": reads["confidence"].isin(range(1, 6)),
    }
    for name, fine in allowed.items():
        if not fine.all():
            row = reads.loc[~fine].iloc[0]
            raise InputError(f"{name} of reader {row['reader']}, case {row['case']} is {row[name]}")
    unknown = sorted(set(reads["case"]) - set(truth.index))
    if unknown:
        raise InputError(f"no reference standard for {len(unknown)} cases, first {unknown[0]}")
    for factor in ("condition", "session"):
        twice = reads.duplicated(["reader", "case", factor])
        if twice.any():
            row = reads.loc[twice].iloc[0]
            raise InputError(f"reader {row['reader']} read case {row['case']} twice in one {factor}")
    return reads


def load_reads(path: Path) -> pd.DataFrame:
    """Read filled-in forms: one CSV file, or a folder of them.

    Raises
    ------
    InputError
        If there is none or one is no CSV table.
    """
    files = sorted(path.glob("*.csv")) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path} holds no CSV file")
    frames = []
    for file in files:
        try:
            frames.append(pd.read_csv(file, dtype={"reader": str, "case": str}))
        except FileNotFoundError:
            raise InputError(f"there is no file {file}") from None
        except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
            raise InputError(f"{file} is no CSV table: {error}") from None
    return pd.concat(frames, ignore_index=True)


def load_truth(path: Path) -> pd.Series:
    """Read the reference standard: CSV file with the columns case and truth (0 or 1).

    Raises
    ------
    InputError
        If the file is absent, lacks a column, names a case twice, or a truth is neither 0 nor 1.
    """
    frame = load_reads(path)
    if not {"case", "truth"} <= set(frame):
        raise InputError(f"{path} needs the columns case and truth")
    if frame["case"].duplicated().any():
        raise InputError(f"{path} names case {frame.loc[frame['case'].duplicated(), 'case'].iloc[0]} twice")
    if not frame["truth"].isin([0, 1]).all():
        raise InputError(f"{path}: truth must be 0 or 1")
    return frame.set_index("case")["truth"].astype(int)
