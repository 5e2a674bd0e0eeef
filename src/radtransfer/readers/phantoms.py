"""Phantom readers: synthetic reading studies whose truths are planted, so that analyses can be tested.

Every reading is a Gaussian latent signal with a threshold (the binormal model). Cases have a difficulty that
all readers and algorithms share, so that errors are correlated as real ones are; each marginal stays a unit
normal, so that sensitivity, specificity and AUC are exactly those that were planted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.stats import norm

from radtransfer.errors import InputError
from radtransfer.readers.tables import BENCHMARK, REFERENCE, ReaderTables

if TYPE_CHECKING:
    from numpy.typing import NDArray

SOURCE = "phantom readers, whose decisions are drawn by a program"
FINDINGS = ("Finding A", "Finding B")
UNASSISTED, ASSISTED = "unassisted", "assisted"


@dataclass(frozen=True, kw_only=True)
class PanelSpec:
    """A panel of phantom readers and algorithms.

    Parameters
    ----------
    n_cases : int
    prevalence : float
        Share of positive cases of each finding.
    sensitivity, specificity : float
        Of every benchmark reader.
    ai_auc : float
        AUC of every algorithm.
    n_readers, n_models : int
        Benchmark readers and distinct algorithms. The last algorithm's scores are three times as large and
        exceed 1; one more algorithm is an exact copy of the first.
    correlation : float
        Share of the latent variance that a case's difficulty has, in cases without support devices; cases
        with devices have none, so that readings of them disagree more often, at equal accuracy.
    dissent : float
        Probability that one of two dissenters among the five reference readers disagrees with their majority.
    seed : int
    """

    n_cases: int = 400
    prevalence: float = 0.3
    sensitivity: float = 0.7
    specificity: float = 0.85
    ai_auc: float = 0.92
    n_readers: int = 3
    n_models: int = 3
    correlation: float = 0.5
    dissent: float = 0.25
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("prevalence", "sensitivity", "specificity", "ai_auc"):
            if not 0 < getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}, not between 0 and 1")
        for name in ("correlation", "dissent"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is {getattr(self, name)}, not from 0 to 1")


def reader_panel(spec: PanelSpec) -> ReaderTables:
    """Draw a panel.

    Parameters
    ----------
    spec : PanelSpec

    Returns
    -------
    ReaderTables
        Its reference standard is the planted truth, and also the majority of the five reference readers.
    """
    rng = np.random.default_rng(spec.seed)
    cases = pd.Index([f"case{i:04d}" for i in range(spec.n_cases)], name="case")
    truth = pd.DataFrame(
        {
            name: rng.permutation(np.arange(spec.n_cases) < round(spec.prevalence * spec.n_cases))
            for name in FINDINGS
        },
        index=cases,
    ).astype(int)
    devices = rng.random(spec.n_cases) < 0.5
    cut = norm.ppf(spec.specificity)
    lift = norm.ppf(spec.sensitivity) + cut
    benchmark = [f"r{j + 1}" for j in range(spec.n_readers)]
    panel = [f"g{j + 1}" for j in range(5)]
    models = [f"model{k + 1}" for k in range(spec.n_models)]
    readings: dict[str, dict[str, NDArray[np.int64]]] = {name: {} for name in (*benchmark, *panel)}
    scores: dict[str, dict[str, NDArray[np.float64]]] = {name: {} for name in models}
    share = np.where(devices, 0.0, spec.correlation)
    for finding in FINDINGS:
        y = truth[finding].to_numpy()
        difficulty = rng.standard_normal(spec.n_cases)

        def latent(
            shift: float, y: NDArray[np.int64] = y, common: NDArray[np.float64] = difficulty
        ) -> NDArray[np.float64]:
            own = rng.standard_normal(spec.n_cases)
            return np.asarray(shift * y + np.sqrt(share) * common + np.sqrt(1 - share) * own)

        for name in benchmark:
            readings[name][finding] = (latent(lift) > cut).astype(np.int64)
        for name in models:
            scores[name][finding] = norm.cdf(latent(np.sqrt(2) * norm.ppf(spec.ai_auc)))
        # at most two of the five may dissent: the majority stays the planted truth
        dissenters = np.argsort(rng.random((spec.n_cases, 5)), axis=1)[:, :2]
        chosen = rng.random((spec.n_cases, 2)) < spec.dissent
        flips = np.zeros((spec.n_cases, 5), dtype=np.int64)
        np.put_along_axis(flips, dissenters, chosen.astype(np.int64), axis=1)
        for j, name in enumerate(panel):
            readings[name][finding] = y ^ flips[:, j]
    frames = {name: pd.DataFrame(columns, index=cases) for name, columns in scores.items()}
    frames["copy_of_model1"] = frames["model1"].copy()
    frames[models[-1]] *= 3
    return ReaderTables(
        truth=truth,
        readings={name: pd.DataFrame(columns, index=cases) for name, columns in readings.items()},
        roles=dict.fromkeys(benchmark, BENCHMARK) | dict.fromkeys(panel, REFERENCE),
        scores=frames,
        covariates=pd.DataFrame(
            {
                "support devices": devices.astype(float),
                "number of findings": truth.sum(axis=1).astype(float),
            },
            index=cases,
        ),
        source=SOURCE,
    )


@dataclass(frozen=True, kw_only=True)
class AssistanceSpec:
    """Phantom readers who read every case twice, with and without assistance.

    Parameters
    ----------
    n_cases, n_readers : int
    prevalence : float
    auc, assisted_auc : float
        AUC of the mean reader's ratings, without and with assistance.
    reader_sd, interaction_sd : float
        Standard deviations, between readers, of the latent separation and of its gain by assistance.
    correlation : float
        Share of the latent variance that belongs to the case.
    time_ratio : float
        Reading time with assistance over reading time without.
    learning : float
        Reading time in the second session over that in the first.
    median_s : float
        Median reading time without assistance, seconds.
    confidence_gain : float
        Shift of the latent confidence by assistance, in standard deviations of a read.
    seed : int
    """

    n_cases: int = 160
    n_readers: int = 6
    prevalence: float = 0.4
    auc: float = 0.82
    assisted_auc: float = 0.88
    reader_sd: float = 0.15
    interaction_sd: float = 0.05
    correlation: float = 0.5
    time_ratio: float = 0.8
    learning: float = 0.95
    median_s: float = 60.0
    confidence_gain: float = 0.5
    seed: int = 0


def read_lists(lists: pd.DataFrame, truth: pd.Series, spec: AssistanceSpec) -> pd.DataFrame:
    """Let phantom readers read the lists of a design.

    Parameters
    ----------
    lists : DataFrame
        As of :func:`radtransfer.readers.design.reading_lists`: reader, session, condition, case, ....
    truth : Series of {0, 1}
        Reference standard by case.
    spec : AssistanceSpec
        Its ``n_cases``, ``n_readers`` and ``prevalence`` are those of the lists and are not used.

    Returns
    -------
    DataFrame
        The lists with rating (0 to 100), decision (0 or 1), seconds, confidence (1 to 5).
    """
    rng = np.random.default_rng(spec.seed)
    readers, j = np.unique(lists["reader"], return_inverse=True)
    cases, i = np.unique(lists["case"], return_inverse=True)
    y = truth.loc[cases].to_numpy()
    assisted = (lists["condition"] == ASSISTED).to_numpy()
    second = (lists["session"] == lists["session"].max()).to_numpy()
    separation = np.sqrt(2) * norm.ppf([spec.auc, spec.assisted_auc])
    skill = rng.normal(0, spec.reader_sd, len(readers))
    gain = rng.normal(0, spec.interaction_sd, (2, len(readers)))
    case_effect = rng.standard_normal(len(cases))
    size = len(lists)
    shift = separation[assisted.astype(int)] + skill[j] + gain[assisted.astype(int), j]
    latent = (
        shift * y[i]
        + np.sqrt(spec.correlation) * case_effect[i]
        + np.sqrt(1 - spec.correlation) * rng.standard_normal(size)
    )
    cut = separation.mean() / 2
    log_time = (
        np.log(spec.median_s)
        + rng.normal(0, 0.3, len(readers))[j]
        + rng.normal(0, 0.3, len(cases))[i]
        + assisted * np.log(spec.time_ratio)
        + second * np.log(spec.learning)
        + rng.normal(0, 0.25, size)
    )
    certainty = (
        rng.normal(0, 0.4, len(readers))[j] + assisted * spec.confidence_gain + rng.standard_normal(size)
    )
    return lists.assign(
        rating=np.round(100 * norm.cdf(latent - cut), 1),
        decision=(latent > cut).astype(int),
        seconds=np.round(np.exp(log_time), 1),
        confidence=np.digitize(certainty, [-1.5, -0.5, 0.5, 1.5]) + 1,
    )
