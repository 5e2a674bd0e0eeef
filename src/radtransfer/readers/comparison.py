r"""Algorithms against radiologists on the same cases.

No case is judged by a threshold that it helped to choose: an algorithm's operating point is found on nine
tenths of the cases and applied to the last tenth (cross-fitting), with the readers' mean specificity of those
nine tenths as its target. At equal specificity the comparison is one of sensitivity; no threshold is tuned to
win it.

No algorithm is singled out: every summary is a mean over all algorithms that order the cases differently,
over readers and over findings, so that no look at the results can choose a favourite. Intervals resample
cases; the one named *random readers* also lets the readers stand for other readers.

References
----------
.. [1] Hillis SL, Obuchowski NA, Schartz KM, Berbaum KS. A comparison of the Dorfman-Berbaum-Metz and
   Obuchowski-Rockette methods for receiver operating characteristic (ROC) data. Stat Med 2005;24:1579-1607.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from sklearn.metrics import roc_curve

from radtransfer.errors import InputError
from radtransfer.readers.tables import BENCHMARK, REFERENCE, ReaderTables
from radtransfer.stats.agreement import fleiss_kappa, gwet_ac1, rating_counts
from radtransfer.stats.auc import auc
from radtransfer.stats.bootstrap import ClusterBootstrap
from radtransfer.stats.discrepancy import RegressionResult, discrepancy_regression
from radtransfer.stats.mrmc.obuchowski_rockette import satterthwaite, t_estimate
from radtransfer.stats.multiplicity import adjust_p_values
from radtransfer.stats.noninferiority import noninferiority_paired_proportion
from radtransfer.stats.paired import discordant_pairs, mcnemar
from radtransfer.stats.proportions import proportion
from radtransfer.stats.result import Estimate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

Metric = Literal["sensitivity", "specificity", "accuracy"]
Measure = Literal["sensitivity", "specificity", "accuracy", "readings"]
METRICS: tuple[Metric, ...] = ("sensitivity", "specificity", "accuracy")
MEASURES: tuple[Measure, ...] = (*METRICS, "readings")

N_FOLDS = 10
RULE_OUT_SENSITIVITY = 0.95
"""What an algorithm that clears cases must reach on the cases that choose its threshold."""

MAJORITY = "panel majority"
AI, STANDARD = "AI", "standard"

RULES = {
    "reader": "One radiologist",
    "ai": "AI alone",
    "either": "AI or radiologist positive",
    "both": "AI and radiologist positive",
    "triage": "AI clears, radiologist reads the rest",
    "arbiter": "Two radiologists, AI decides where they differ",
    "panel": "Majority of the radiologists",
    "ceiling": "Radiologist who errs only where the AI errs too",
}
"""Ways to combine decisions; the last is what assistance could reach at best."""


def of_metric(metric: Metric, y: IntArray) -> FloatArray:
    """Weight of each case in a metric: positives, negatives, or all."""
    return {"sensitivity": y, "specificity": 1 - y, "accuracy": np.ones_like(y)}[metric].astype(np.float64)


def fold_numbers(y: IntArray, *, n_folds: int = N_FOLDS, seed: int) -> IntArray:
    """Fold of each case, with the classes spread evenly.

    Parameters
    ----------
    y : ndarray of {0, 1}, shape (n,)
    n_folds, seed : int

    Returns
    -------
    ndarray of int, shape (n,)
    """
    rng = np.random.default_rng(seed)
    folds = np.empty(len(y), dtype=np.int64)
    for label in (0, 1):
        rows = rng.permutation(np.flatnonzero(y == label))
        folds[rows] = np.arange(len(rows)) % n_folds
    return folds


def matched_decisions(y: IntArray, score: FloatArray, reading: FloatArray, folds: IntArray) -> IntArray:
    """Decisions at the readers' specificity, each by a threshold from the other folds.

    Parameters
    ----------
    y : ndarray of {0, 1}, shape (n,)
    score : ndarray, shape (n,)
    reading : ndarray, shape (n,)
        Readers' decisions, or their mean over readers.
    folds : ndarray of int, shape (n,)

    Returns
    -------
    ndarray of {0, 1}, shape (n,)
    """
    decision = np.empty(len(y), dtype=np.int64)
    for fold in np.unique(folds):
        negative = (folds != fold) & (y == 0)
        threshold = np.quantile(score[negative], 1 - reading[negative].mean())
        decision[folds == fold] = score[folds == fold] > threshold
    return decision


def rule_out_decisions(
    y: IntArray, score: FloatArray, folds: IntArray, *, sensitivity: float = RULE_OUT_SENSITIVITY
) -> IntArray:
    """Decisions at a sensitivity that is safe to clear cases with, thresholds from the other folds.

    Parameters
    ----------
    y, score, folds
        As in :func:`matched_decisions`.
    sensitivity : float
        Aimed at.

    Returns
    -------
    ndarray of {0, 1}, shape (n,)
        0 where the case is cleared.
    """
    decision = np.empty(len(y), dtype=np.int64)
    for fold in np.unique(folds):
        positive = (folds != fold) & (y == 1)
        threshold = np.quantile(score[positive], 1 - sensitivity)
        decision[folds == fold] = score[folds == fold] >= threshold
    return decision


def height_over_curve(
    y: IntArray, score: FloatArray, decisions: IntArray, weights: FloatArray | None = None
) -> FloatArray:
    """How far readers' points lie above an algorithm's empirical ROC curve.

    The curve's height at a reader's false-positive rate is the largest sensitivity of any threshold with no
    more false positives.

    Parameters
    ----------
    y : ndarray of {0, 1}, shape (n,)
    score : ndarray, shape (n,)
    decisions : ndarray of {0, 1}, shape (n_readers, n)
    weights : ndarray, shape (n_resamples, n), optional
        Case weights, one row a resample; one resample with every case once by default.

    Returns
    -------
    ndarray, shape (n_resamples, n_readers)
        Difference in sensitivity; negative: the point lies below the curve.
    """
    if weights is None:
        weights = np.ones((1, len(y)))
    order = np.argsort(-score, kind="stable")
    last = np.append(np.flatnonzero(np.diff(score[order])), len(order) - 1)  # ties are passed in one step
    n_positive = weights @ y
    ordered = weights[:, order]
    hits = np.cumsum(ordered * y[order], axis=1)[:, last]
    alarms = np.cumsum(ordered * (1 - y[order]), axis=1)[:, last]
    hits = np.concatenate([np.zeros((len(weights), 1)), hits], axis=1)
    height = np.empty((len(weights), len(decisions)))
    for j, decision in enumerate(decisions):
        allowed = weights @ (decision * (1 - y))
        steps = (alarms <= allowed[:, None]).sum(axis=1)
        reached = hits[np.arange(len(weights)), steps]
        height[:, j] = (weights @ (decision * y) - reached) / n_positive
    return height


def kappas(a: FloatArray, b: FloatArray, weights: FloatArray) -> FloatArray:
    """Cohen's kappa of pairs of binary raters in every resample.

    Parameters
    ----------
    a, b : ndarray of {0, 1}, shape (n_pairs, n)
    weights : ndarray, shape (n_resamples, n)

    Returns
    -------
    ndarray, shape (n_resamples, n_pairs)
        NaN where both put all cases into one category.
    """
    total = weights.sum(axis=1, keepdims=True)
    share_a, share_b, both = (weights @ part.T / total for part in (a, b, a * b))
    observed = 1 - share_a - share_b + 2 * both
    expected = share_a * share_b + (1 - share_a) * (1 - share_b)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((observed - expected) / (1 - expected))


def _all_pairs(a: IntArray, b: IntArray) -> tuple[FloatArray, FloatArray]:
    """Every rater of one group with every rater of another, each shape (n_pairs, n)."""
    return np.repeat(a, len(b), axis=0).astype(np.float64), np.tile(b, (len(a), 1)).astype(np.float64)


@dataclass(frozen=True, eq=False)
class FindingPanel:
    """One finding's decisions and scores as arrays.

    Parameters
    ----------
    finding : str
    y : ndarray of {0, 1}, shape (n,)
        Reference standard.
    readers : tuple of str
        Benchmark readers.
    decisions : ndarray of {0, 1}, shape (n_readers, n)
    models : tuple of str
        Distinct algorithms.
    scores : ndarray, shape (n_models, n)
    matched, matched_panel : ndarray of {0, 1}, shape (n_models, n)
        Algorithms' decisions at the readers' mean specificity, and at that of their majority.
    rule_out : ndarray of {0, 1}, shape (n_models, n)
        Decisions at a high sensitivity.
    """

    finding: str
    y: IntArray
    readers: tuple[str, ...]
    decisions: IntArray
    models: tuple[str, ...]
    scores: FloatArray
    matched: IntArray
    matched_panel: IntArray
    rule_out: IntArray

    @classmethod
    def of(cls, tables: ReaderTables, finding: str, *, seed: int) -> FindingPanel:
        """Arrays of a finding, with the algorithms' cross-fitted decisions."""
        y = tables.truth[finding].to_numpy(np.int64)
        readers = tables.readers(BENCHMARK)
        decisions = tables.decisions(finding, BENCHMARK).to_numpy(np.int64).T
        models = tuple(tables.distinct_models(finding))
        scores = np.array([tables.scores[name][finding].to_numpy(np.float64) for name in models])
        folds = fold_numbers(y, seed=seed)
        mean = decisions.mean(axis=0)
        majority = (mean > 0.5).astype(np.float64)
        return cls(
            finding=finding,
            y=y,
            readers=readers,
            decisions=decisions,
            models=models,
            scores=scores,
            matched=np.array([matched_decisions(y, score, mean, folds) for score in scores]),
            matched_panel=np.array([matched_decisions(y, score, majority, folds) for score in scores]),
            rule_out=np.array([rule_out_decisions(y, score, folds) for score in scores]),
        )

    @property
    def majority(self) -> IntArray:
        """Decision of more than half of the benchmark readers, shape (n,)."""
        return np.asarray(self.decisions.mean(axis=0) > 0.5, dtype=np.int64)

    def comparators(self) -> dict[str, tuple[IntArray, IntArray]]:
        """Readers and their majority: decisions (n,), and the algorithms' to hold against (n_models, n)."""
        single = {name: (row, self.matched) for name, row in zip(self.readers, self.decisions, strict=True)}
        return single | {MAJORITY: (self.majority, self.matched_panel)}

    @cached_property
    def correct_ai(self) -> FloatArray:
        """Share of the algorithms that are right at the matched specificity, shape (n,)."""
        return np.asarray((self.matched == self.y).mean(axis=0))

    @cached_property
    def correct_readers(self) -> FloatArray:
        """Whether each reader is right, shape (n_readers, n)."""
        return np.asarray((self.decisions == self.y).astype(np.float64))

    def rules(self) -> dict[str, tuple[FloatArray, FloatArray]]:
        """Combinations of decisions, averaged over algorithms and readers.

        Returns
        -------
        dict of str to (ndarray, ndarray), each shape (n,)
            By key of :data:`RULES`: how often the case is called right, and how many radiologists read it.
        """
        ai, clears = self.matched[:, None], self.rule_out[:, None]
        reader = self.decisions[None]
        pairs = [
            np.where(a == b, a, self.matched) for a, b in combinations(self.decisions, 2)
        ]  # each (n_models, n)
        one, n_readers = np.ones(len(self.y)), float(len(self.readers))
        right = self.y

        def share(calls: IntArray) -> FloatArray:
            return np.asarray((calls == right).mean(axis=(0, 1)))

        return {
            "reader": (share(reader), one),
            "ai": (share(ai), 0 * one),
            "either": (share(ai | reader), one),
            "both": (share(ai & reader), one),
            "triage": (share(clears & reader), self.rule_out.mean(axis=0)),
            "arbiter": (share(np.array(pairs)), 2 * one),
            "panel": (share(self.majority[None, None]), n_readers * one),
            "ceiling": (np.asarray(((ai == right) | (reader == right)).mean(axis=(0, 1))), one),
        }


def panel_difference(
    panels: Iterable[FindingPanel],
    metric: Metric,
    *,
    readers: Literal["random", "fixed"] = "random",
    level: float = 0.95,
) -> Estimate:
    """Mean algorithm minus mean benchmark reader, averaged over findings.

    Parameters
    ----------
    panels : iterable of FindingPanel
        Of the same cases and readers.
    metric : {"sensitivity", "specificity", "accuracy"}
    readers : {"random", "fixed"}
        Whether the readers stand for other readers; cases are random in both.
    level : float

    Returns
    -------
    Estimate
        As :func:`radtransfer.stats.mrmc.standalone_vs_readers`, whose formula this is ([1]_ of the module),
        for differences D_j = algorithms - reader j that are themselves means over findings and algorithms;
        their covariance is that of whole cases' influences, so that a case's findings stay together.
    """
    panels = list(panels)
    differences, influences = [], []
    for panel in panels:
        weight = of_metric(metric, panel.y)
        size = weight.sum()
        excess = panel.correct_ai - panel.correct_readers
        difference = (excess @ weight) / size
        differences.append(difference)
        # what each case adds to the difference; the root makes variances those of means of `size` cases
        influences.append((excess - difference[:, None]) * weight / size * math.sqrt(size / (size - 1)))
    d, influence = np.mean(differences, axis=0), np.mean(influences, axis=0)
    n_readers, n_cases = influence.shape
    covariance = influence @ influence.T
    off_diagonal = ~np.eye(n_readers, dtype=bool)
    shared = max(float(covariance[off_diagonal].mean()), 0.0) if n_readers > 1 else 0.0
    if readers == "fixed":
        variance, df = float(np.diag(covariance).mean() + (n_readers - 1) * shared) / n_readers, math.inf
    else:
        if n_readers < 2:
            raise InputError("one reader cannot stand for a population of readers")
        spread = float(d.var(ddof=1))
        total = spread + n_readers * shared
        variance, df = total / n_readers, satterthwaite(spread, total, n_readers - 1)
    return t_estimate(
        f"difference in {metric}, mean AI − mean radiologist",
        float(d.mean()),
        math.sqrt(max(variance, 0.0)),
        df,
        level,
        f"single-modality Obuchowski-Rockette of the differences averaged over {len(panels)} findings, "
        f"covariance over cases, {readers} readers, random cases",
        n={"cases": n_cases, "readers": n_readers, "findings": len(panels)},
        bounds=(-1.0, 1.0),
        test=True,
    )


@dataclass(frozen=True, eq=False)
class Comparison:
    """Algorithms against radiologists, all findings.

    Parameters
    ----------
    tables : ReaderTables
    panels : tuple of FindingPanel
        One per finding.
    margin : float
        Largest loss that counts as not inferior.
    level : float
    """

    tables: ReaderTables
    panels: tuple[FindingPanel, ...]
    margin: float
    level: float
    _bootstrap: ClusterBootstrap

    @property
    def findings(self) -> tuple[str, ...]:
        """Findings analysed."""
        return tuple(panel.finding for panel in self.panels)

    @property
    def readers(self) -> tuple[str, ...]:
        """Benchmark readers."""
        return self.tables.readers(BENCHMARK)

    @property
    def n(self) -> dict[str, int]:
        """Cases, readers and findings."""
        return {"cases": len(self.tables.truth), "readers": len(self.readers), "findings": len(self.panels)}

    @cached_property
    def _weights(self) -> FloatArray:
        return self._bootstrap.weights()

    # --- the curves and the readers' points ----------------------------------------------------------------

    @cached_property
    def aucs(self) -> pd.DataFrame:
        """AUC of every distinct algorithm: columns finding, model, same_scores, auc (Estimate)."""
        rows = []
        for panel in self.panels:
            groups = self.tables.distinct_models(panel.finding)
            for model, score in zip(panel.models, panel.scores, strict=True):
                rows.append(
                    {
                        "finding": panel.finding,
                        "model": model,
                        "same_scores": ", ".join(groups[model][1:]),
                        "auc": auc(panel.y, score, level=self.level, interval="logit"),
                    }
                )
        return pd.DataFrame(rows)

    def mean_auc(self, finding: str | None = None) -> Estimate:
        """Mean AUC over the distinct algorithms, of one finding or averaged over all."""
        panels = [panel for panel in self.panels if finding in (None, panel.finding)]
        points, samples = [], []
        for panel in panels:
            each = [self._bootstrap.auc(panel.y, score) for score in panel.scores]
            samples.append(np.mean(each, axis=0))
            points.append(np.mean([auc(panel.y, score).estimate for score in panel.scores]))
        return self._interval("mean AUC of the algorithms", float(np.mean(points)), np.mean(samples, axis=0))

    def roc_curves(self, *, n_points: int = 101) -> pd.DataFrame:
        """ROC curves of the distinct algorithms on a grid: finding, model, x (1 - specificity), y."""
        grid = np.linspace(0, 1, n_points)
        frames = []
        for panel in self.panels:
            for model, score in zip(panel.models, panel.scores, strict=True):
                false_positive, true_positive, _ = roc_curve(panel.y, score)
                frames.append(
                    pd.DataFrame(
                        {
                            "finding": panel.finding,
                            "model": model,
                            "x": grid,
                            "y": np.interp(grid, false_positive, true_positive),
                        }
                    )
                )
        return pd.concat(frames, ignore_index=True)

    @cached_property
    def operating_points(self) -> pd.DataFrame:
        """Benchmark readers and their majority: finding, reader, sensitivity, specificity (Estimates)."""
        rows = []
        for panel in self.panels:
            for name, (decision, _) in panel.comparators().items():
                row: dict[str, object] = {"finding": panel.finding, "reader": name}
                for metric in METRICS[:2]:
                    rows_of = of_metric(metric, panel.y) == 1
                    right = int((decision == panel.y)[rows_of].sum())
                    row[metric] = proportion(right, int(rows_of.sum()), level=self.level)
                rows.append(row)
        return pd.DataFrame(rows)

    @cached_property
    def below(self) -> pd.DataFrame:
        """Readers' points against curves: finding, model, reader, height, below, probability.

        ``height`` is the reader's sensitivity above the curve's at the same false-positive rate;
        ``probability`` the share of resamples in which the point lies below.
        """
        rows = []
        for panel in self.panels:
            for model, score in zip(panel.models, panel.scores, strict=True):
                height = height_over_curve(panel.y, score, panel.decisions)[0]
                resampled = height_over_curve(panel.y, score, panel.decisions, self._weights)
                for j, reader in enumerate(panel.readers):
                    rows.append(
                        {
                            "finding": panel.finding,
                            "model": model,
                            "reader": reader,
                            "height": height[j],
                            "below": bool(height[j] < 0),
                            "probability": float((resampled[:, j] < 0).mean()),
                        }
                    )
        return pd.DataFrame(rows)

    # --- paired differences --------------------------------------------------------------------------------

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """Every algorithm against every reader and their majority, at matched specificity.

        Columns finding, model, comparator, metric, ai_only, reader_only (cases that only one called right),
        n, difference, low, high, p_value (McNemar, mid-p), p_holm, noninferior_p, noninferior_holm. Each
        metric is one family for Holm's adjustment, and so are its tests of non-inferiority.
        """
        rows = []
        for panel in self.panels:
            for comparator, (decision, matched) in panel.comparators().items():
                for model, calls in zip(panel.models, matched, strict=True):
                    for metric in METRICS:
                        use = of_metric(metric, panel.y) == 1
                        b, c, n = discordant_pairs((calls == panel.y)[use], (decision == panel.y)[use])
                        test = mcnemar(b, c, n=n, method="midp", level=self.level)
                        worse = noninferiority_paired_proportion(
                            b, c, n, margin=self.margin, alpha=(1 - self.level) / 2
                        )
                        rows.append(
                            {
                                "finding": panel.finding,
                                "model": model,
                                "comparator": comparator,
                                "metric": metric,
                                "ai_only": b,
                                "reader_only": c,
                                "n": n,
                                "difference": test.estimate,
                                "low": test.low,
                                "high": test.high,
                                "p_value": test.p_value,
                                "noninferior_p": worse.p_value,
                            }
                        )
        table = pd.DataFrame(rows)
        families = table.groupby("metric")
        for source, adjusted in (("p_value", "p_holm"), ("noninferior_p", "noninferior_holm")):
            table[adjusted] = families[source].transform(adjust_p_values)
        return table

    def family(self, metric: Metric) -> dict[str, int]:
        """Outcome of a family of tests after Holm: size, ai_better, reader_better, undecided, noninferior."""
        table = self.pairs.loc[self.pairs["metric"] == metric]
        alpha = 1 - self.level
        decided = table["p_holm"] < alpha
        better = int((decided & (table["difference"] > 0)).sum())
        return {
            "size": len(table),
            "ai_better": better,
            "reader_better": int(decided.sum()) - better,
            "undecided": int((~decided).sum()),
            # one-sided tests, each at half the level
            "noninferior": int((table["noninferior_holm"] < alpha / 2).sum()),
        }

    def difference(
        self, metric: Metric, *, readers: Literal["random", "fixed"] = "random", finding: str | None = None
    ) -> Estimate:
        """Mean algorithm minus mean reader, of one finding or averaged over all."""
        panels = [panel for panel in self.panels if finding in (None, panel.finding)]
        return panel_difference(panels, metric, readers=readers, level=self.level)

    def majority_difference(self, metric: Metric) -> Estimate:
        """Mean algorithm minus the panel's majority, at the majority's specificity, over all findings."""
        points, samples = [], []
        for panel in self.panels:
            weight = of_metric(metric, panel.y)
            ai = (panel.matched_panel == panel.y).mean(axis=0)
            excess = (ai - (panel.majority == panel.y)) * weight
            points.append(excess.sum() / weight.sum())
            samples.append(self._bootstrap.ratio(excess, weight))
        return self._interval(
            f"difference in {metric}, mean AI \N{MINUS SIGN} panel majority",
            float(np.mean(points)),
            np.mean(samples, axis=0),
        )

    # --- agreement -----------------------------------------------------------------------------------------

    @cached_property
    def kappa_matrix(self) -> pd.DataFrame:
        """Mean kappa over findings of every pair of raters, the AI's a mean over algorithms.

        Raters are the benchmark readers, the AI, the reference readers and the reference standard. A
        reference reader is not held against the standard, of which it is a part: that cell is missing.
        """
        reference = self.tables.readers(REFERENCE)
        names = [*self.readers, AI, *reference, STANDARD]
        values = np.full((len(self.panels), len(names), len(names)), np.nan)
        once = np.ones((1, self.n["cases"]))
        for f, panel in enumerate(self.panels):
            raters = self._raters(panel)
            for i, j in combinations(range(len(names)), 2):
                if names[i] in reference and names[j] == STANDARD:
                    continue
                each = kappas(*_all_pairs(raters[names[i]], raters[names[j]]), once)
                values[f, i, j] = values[f, j, i] = each.mean()
        return pd.DataFrame(values.mean(axis=0), index=names, columns=names)

    def _raters(self, panel: FindingPanel) -> dict[str, IntArray]:
        reference = self.tables.decisions(panel.finding, REFERENCE)
        return {
            **{name: row[None] for name, row in zip(panel.readers, panel.decisions, strict=True)},
            AI: panel.matched,
            **{str(name): reference[name].to_numpy(np.int64)[None] for name in reference},
            STANDARD: panel.y[None],
        }

    @cached_property
    def agreement(self) -> dict[str, Estimate]:
        """Mean kappa over findings: between readers, of AI and reader, of each with the standard.

        Keys readers, ai_reader, difference (the second minus the first), ai_standard, reader_standard.
        """
        groups: dict[str, list[FloatArray]] = {
            "readers": [],
            "ai_reader": [],
            "ai_standard": [],
            "reader_standard": [],
        }
        weights = np.concatenate([np.ones((1, self.n["cases"])), self._weights])
        for panel in self.panels:
            first, second = np.triu_indices(len(panel.decisions), k=1)
            pairs = {
                "readers": (panel.decisions[first].astype(float), panel.decisions[second].astype(float)),
                "ai_reader": _all_pairs(panel.matched, panel.decisions),
                "ai_standard": _all_pairs(panel.matched, panel.y[None]),
                "reader_standard": _all_pairs(panel.decisions, panel.y[None]),
            }
            for name, (a, b) in pairs.items():
                groups[name].append(kappas(a, b, weights).mean(axis=1))
        means = {name: np.mean(values, axis=0) for name, values in groups.items()}
        means["difference"] = means["ai_reader"] - means["readers"]
        words = {
            "readers": "mean kappa between benchmark readers",
            "ai_reader": "mean kappa of AI and benchmark reader",
            "ai_standard": "mean kappa of AI and reference standard",
            "reader_standard": "mean kappa of benchmark reader and reference standard",
            "difference": "kappa of AI and reader minus kappa between readers",
        }
        return {
            name: self._interval(words[name], float(values[0]), values[1:]) for name, values in means.items()
        }

    @cached_property
    def panel_agreement(self) -> pd.DataFrame:
        """Fleiss' kappa and Gwet's AC1 of the reference readers and of the benchmark readers, by finding."""
        rows = []
        for finding in self.findings:
            row: dict[str, object] = {"finding": finding}
            for role in (REFERENCE, BENCHMARK):
                counts, _ = rating_counts(self.tables.decisions(finding, role).to_numpy(), labels=[0, 1])
                row[f"fleiss_{role}"] = fleiss_kappa(counts, level=self.level)
                row[f"ac1_{role}"] = gwet_ac1(counts, level=self.level)
            rows.append(row)
        return pd.DataFrame(rows)

    @cached_property
    def leave_one_out(self) -> pd.DataFrame:
        """Each reference reader against the majority of the *other* reference readers.

        Columns finding, reader, n_ties (cases without such a majority, left out), sensitivity, specificity.
        """
        rows = []
        for finding in self.findings:
            decisions = self.tables.decisions(finding, REFERENCE)
            for name in decisions:
                others = decisions.drop(columns=name)
                votes = 2 * others.sum(axis=1)
                decided = votes != others.shape[1]
                majority = votes > others.shape[1]
                row: dict[str, object] = {"finding": finding, "reader": name, "n_ties": int((~decided).sum())}
                for metric, label in (("sensitivity", True), ("specificity", False)):
                    use = decided & (majority == label)
                    right = int((decisions[name][use] == int(label)).sum())
                    row[metric] = proportion(right, int(use.sum()), level=self.level) if use.any() else None
                rows.append(row)
        return pd.DataFrame(rows)

    @cached_property
    def model_correlation(self) -> float:
        """Mean rank correlation of the distinct algorithms' scores, over pairs and findings."""
        each = [
            float(spearmanr(a, b).statistic)
            for panel in self.panels
            for a, b in combinations(panel.scores, 2)
        ]
        return float(np.mean(each))

    # --- discrepancies and rules ---------------------------------------------------------------------------

    @cached_property
    def discrepancies(self) -> RegressionResult:
        """What explains that AI and reader differ, with cases as clusters."""
        n_cases = self.n["cases"]
        outcome, design, case = [], [], []
        covariates = self.tables.covariates
        for f, panel in enumerate(self.panels):
            indicator = np.zeros((n_cases, len(self.panels) - 1))
            if f:
                indicator[:, f - 1] = 1
            predictors = np.column_stack([covariates.to_numpy(float), panel.y, indicator])
            for calls in panel.matched:
                for decision in panel.decisions:
                    outcome.append(calls != decision)
                    design.append(predictors)
                    case.append(np.arange(n_cases))
        return discrepancy_regression(
            np.concatenate(outcome).astype(int),
            np.concatenate(design),
            names=[*map(str, covariates), "finding present", *self.findings[1:]],
            cluster=np.concatenate(case),
            level=self.level,
        )

    @cached_property
    def rules(self) -> pd.DataFrame:
        """Simulated rules, means over findings, algorithms and readers.

        One row per key of :data:`RULES`, in columns sensitivity, specificity, accuracy, readings
        (radiologists per case) and the differences of the first three from one radiologist (``_gain``).
        """
        points: dict[str, dict[str, float]] = {}
        samples: dict[str, dict[str, FloatArray]] = {}
        per_panel = [(panel, panel.rules()) for panel in self.panels]
        for rule in RULES:
            points[rule], samples[rule] = {}, {}
            for metric in MEASURES:
                values, draws = [], []
                for panel, parts in per_panel:
                    right, numerator = parts[rule]
                    weight = np.ones(len(panel.y))
                    if metric != "readings":
                        weight = of_metric(metric, panel.y)
                        numerator = right * weight
                    values.append(float(numerator.sum() / weight.sum()))
                    draws.append(self._bootstrap.ratio(numerator, weight))
                points[rule][metric] = float(np.mean(values))
                samples[rule][metric] = np.mean(draws, axis=0)
        rows = []
        for rule in RULES:
            row: dict[str, object] = {"rule": rule}
            for metric in MEASURES:
                row[metric] = self._interval(
                    f"{metric}, {RULES[rule]}", points[rule][metric], samples[rule][metric]
                )
                if metric != "readings" and rule != "reader":
                    row[f"{metric}_gain"] = self._interval(
                        f"gain in {metric} over one radiologist, {RULES[rule]}",
                        points[rule][metric] - points["reader"][metric],
                        samples[rule][metric] - samples["reader"][metric],
                    )
            rows.append(row)
        return pd.DataFrame(rows).set_index("rule")

    def _interval(self, name: str, point: float, samples: FloatArray) -> Estimate:
        return self._bootstrap.interval(name, point, samples, level=self.level, n=self.n)


def compare(
    tables: ReaderTables,
    *,
    findings: Iterable[str] | None = None,
    margin: float = 0.05,
    n_resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Compare algorithms with radiologists.

    Parameters
    ----------
    tables : ReaderTables
    findings : iterable of str, optional
        As in :meth:`ReaderTables.findings`.
    margin : float
        Largest loss that counts as not inferior.
    n_resamples : int
        Bootstrap resamples of cases.
    level : float
    seed : int
        Of the resamples and of the folds that choose thresholds.

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        If there are fewer than two benchmark readers, or a finding is unknown or too rare.
    """
    if len(tables.readers(BENCHMARK)) < 2:
        raise InputError("a panel needs two benchmark readers or more")
    names = tables.findings(findings)
    return Comparison(
        tables=tables,
        panels=tuple(FindingPanel.of(tables, name, seed=seed) for name in names),
        margin=margin,
        level=level,
        _bootstrap=ClusterBootstrap(np.arange(len(tables.truth)), n_resamples=n_resamples, seed=seed),
    )
