"""Families of tests that the study declares before it looks at a result.

A family is a list of pairs of models that answer one question, such as "does a network beat a traditional
method?". All pairs that the question covers belong to it; none is left out or picked for its result, so that
the adjustment for multiplicity counts them all. Four tests are made of every pair:

- ``auc``, the primary one: difference of the cross-validated AUCs. In each fold it is the paired difference
  of two AUCs with the variance for clustered images (DeLong 1988 in the form of Obuchowski 1997); folds hold
  different patients, so the variance of the mean is the sum of theirs over the squared number of folds
  (LeDell 2015). It asks whether *these fitted* models differ on further patients. With more than two
  classes it is the difference of the means over the classes, each against the rest.
- ``accuracy``: McNemar's test of right against wrong decisions, for clustered images (Obuchowski 1998).
- ``folds_t``: t-test of the folds' differences in AUC with the correction of Nadeau and Bengio (2003). It
  asks whether the *ways of training* differ, and has few folds to answer with.
- ``folds_wilcoxon``: Wilcoxon's signed-rank test of the same differences, which K folds cannot bring below
  p = 2 / 2**K.

Each test is adjusted over the pairs of its family by Holm's procedure; Benjamini-Hochberg's stands beside it.

References
----------
.. [1] DeLong ER et al. Biometrics 1988;44:837-845. Obuchowski NA. Biometrics 1997;53:567-578.
.. [2] LeDell E, Petersen M, van der Laan M. Electron J Stat 2015;9:1583-1607.
.. [3] Obuchowski NA. Stat Med 1998;17:1495-1507.
.. [4] Nadeau C, Bengio Y. Mach Learn 2003;52:239-281.
.. [5] Cohen J. Statistical Power Analysis for the Behavioral Sciences. 2nd ed. 1988, chapter 5 (*g*).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from scipy import stats

from radtransfer.errors import InputError, unknown_name
from radtransfer.stats.agreement import cohen_kappa
from radtransfer.stats.auc import compare_auc, compare_macro_auc
from radtransfer.stats.multiplicity import adjust_p_values
from radtransfer.stats.paired import clustered_mcnemar, corrected_resampled_t, wilcoxon_signed_rank
from radtransfer.stats.result import Estimate
from radtransfer.training.runs import NETWORKS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from radtransfer.evaluation.performance import Evaluation, Performance

TESTS: dict[str, str] = {
    "auc": "AUC, clustered DeLong",
    "accuracy": "Accuracy, clustered McNemar",
    "folds_t": "AUC over folds, corrected t",
    "folds_wilcoxon": "AUC over folds, Wilcoxon",
}
"""Tests made of every pair, by key; the first is the primary one."""

PRIMARY = "auc"


@dataclass(frozen=True)
class Family:
    """Pairs of models whose comparisons answer one question together.

    Parameters
    ----------
    name : str
        Key of the family.
    title : str
        What readers call it.
    why : str
        The question, and so which pairs belong.
    pairs : tuple of (str, str)
        Model and reference of each comparison; differences are model minus reference.
    """

    name: str
    title: str
    why: str
    pairs: tuple[tuple[str, str], ...]


def declare_families(
    models: Iterable[str], *, traditional: Collection[str], shortcuts: Collection[str]
) -> tuple[Family, ...]:
    """The study's families, over whichever models were evaluated.

    Parameters
    ----------
    models : iterable of str
        Names of the evaluated models. Networks are those of :data:`radtransfer.training.runs.NETWORKS`;
        a name that is neither there nor in one of the next two takes part in no family.
    traditional, shortcuts : collection of str
        Which models are traditional, and which are shortcut baselines.

    Returns
    -------
    tuple of Family
        Always the same four, in the same order; one without pairs where a kind of model is missing.
    """
    names = list(models)
    networks = [NETWORKS[name] for name in names if name in NETWORKS]
    scratch = [spec for spec in networks if spec.regime == "scratch"]
    transfer = [spec for spec in networks if spec.regime != "scratch"]
    return (
        Family(
            "network-traditional",
            "Network v. traditional",
            "Does a network beat designed features with a classical learner?",
            tuple((spec.name, name) for spec in networks for name in names if name in traditional),
        ),
        Family(
            "network-shortcut",
            "Network v. shortcuts",
            "Does a network see more than what hardly needs the anatomy?",
            tuple((spec.name, name) for spec in networks for name in names if name in shortcuts),
        ),
        Family(
            "transfer-scratch",
            "Transfer v. scratch",
            "Do weights learned elsewhere beat training from random numbers?",
            tuple((spec.name, other.name) for spec in transfer for other in scratch),
        ),
        Family(
            "finetuned-frozen",
            "Fine-tuned v. frozen",
            "Does training the last layers beat training the head alone?",
            tuple(
                (spec.name, other.name)
                for spec in transfer
                for other in transfer
                if (spec.regime, other.regime) == ("finetuned", "frozen") and spec.backbone == other.backbone
            ),
        ),
    )


@dataclass(frozen=True)
class PairTests:
    """Everything tested about one pair of models.

    Parameters
    ----------
    model, reference : str
        Names; every difference is model minus reference.
    tests : dict of str to Estimate
        By key of :data:`TESTS`. ``p_value`` is None where a test does not exist for these data, and
        ``method`` says why. The estimate is a difference with its interval, but for ``folds_wilcoxon``,
        which has the rank-biserial correlation.
    """

    model: str
    reference: str
    tests: dict[str, Estimate]

    @property
    def discordant(self) -> tuple[int, int]:
        """Images that only the model, and that only the reference, decided rightly."""
        details = self.tests["accuracy"].details
        return details["b"], details["c"]

    @property
    def cohens_g(self) -> float | None:
        """Share of the discordant images that the model had right, less one half (Cohen 1988).

        From -0.5 to 0.5; None where no image is discordant.
        """
        model, reference = self.discordant
        return model / (model + reference) - 0.5 if model + reference else None


@dataclass(frozen=True)
class FamilyTests:
    """Results of a family.

    Parameters
    ----------
    family : Family
        What was declared.
    pairs : tuple of PairTests
        In the family's order.
    level : float
        Confidence level; 1 minus it is the level of significance of the family.
    """

    family: Family
    pairs: tuple[PairTests, ...]
    level: float

    def adjusted(self, test: str = PRIMARY) -> pd.DataFrame:
        """p-values of one test over the pairs of the family.

        Parameters
        ----------
        test : str
            Key of :data:`TESTS`.

        Returns
        -------
        DataFrame
            One row a pair: model, reference, estimate, p, holm, bh (missing where the test does not exist;
            such a pair does not count in the adjustment) and verdict: ``"better"`` or ``"worse"`` where
            Holm's p is at most 1 - level, ``"undecided"`` otherwise.
        """
        if test not in TESTS:
            raise unknown_name("test", test, TESTS)
        results = [pair.tests[test] for pair in self.pairs]
        frame = pd.DataFrame(
            {
                "model": [pair.model for pair in self.pairs],
                "reference": [pair.reference for pair in self.pairs],
                "estimate": np.array([result.estimate for result in results], dtype=float),
                # None becomes NaN
                "p": np.array([result.p_value for result in results], dtype=float),
            }
        )
        made = frame["p"].notna().to_numpy()
        methods: tuple[Literal["holm", "bh"], ...] = ("holm", "bh")
        for method in methods:
            adjusted = np.full(len(frame), np.nan)
            adjusted[made] = adjust_p_values(frame["p"].to_numpy()[made], method=method)
            frame[method] = adjusted
        # 1 - 0.95 is a little more than 0.05; p-values are not known to that digit
        significant = frame["holm"] <= 1 - self.level
        frame["verdict"] = np.select(
            [significant & (frame["estimate"] > 0), significant & (frame["estimate"] < 0)],
            ["better", "worse"],
            "undecided",
        )
        return frame


def examine(evaluation: Evaluation, family: Family, *, n_train: float) -> FamilyTests:
    """Make all tests of a family.

    Parameters
    ----------
    evaluation : Evaluation
        Scores and decisions of the models, and the level of the intervals.
    family : Family
        Pairs to compare; may be empty.
    n_train : float
        Images a model was trained on, mean over the folds; with the mean size of the test parts it makes the
        correction of Nadeau and Bengio.

    Returns
    -------
    FamilyTests

    Raises
    ------
    InputError
        If a model was not evaluated, there is one fold only, or a fold has too few patients of a class for
        a variance.
    """
    return FamilyTests(
        family=family,
        pairs=tuple(
            compare_pair(evaluation, model, reference, n_train=n_train) for model, reference in family.pairs
        ),
        level=evaluation.level,
    )


def compare_pair(evaluation: Evaluation, model: str, reference: str, *, n_train: float) -> PairTests:
    """Test one pair of models; arguments and errors as of :func:`examine`."""
    for name in (model, reference):
        if name not in evaluation.models:
            raise unknown_name("model", name, evaluation.models)
    if not n_train > 0:
        raise InputError(f"n_train is {n_train}, not a number of images")
    first, second = (evaluation.models[name] for name in (model, reference))
    level, table = evaluation.level, first.table
    by_fold = _fold_differences(first, second)
    difference = np.array([result.estimate for result in by_fold])
    right = [(part.table["decision"] == part.table["label"]).to_numpy(int) for part in (first, second)]
    return PairTests(
        model=model,
        reference=reference,
        tests={
            "auc": _mean_of_folds(by_fold, n=evaluation.n, level=level),
            "accuracy": clustered_mcnemar(*right, cluster=table["patient_id"], level=level),
            "folds_t": _if_it_exists(
                lambda: corrected_resampled_t(
                    difference, n_train=n_train, n_test=len(table) / len(by_fold), level=level
                ),
                otherwise=float(difference.mean()),
                level=level,
            ),
            "folds_wilcoxon": wilcoxon_signed_rank(difference),
        },
    )


def kappa_with_reference(evaluation: Evaluation) -> dict[str, Estimate]:
    """Cohen's kappa between each model's decisions and the reference standard.

    Parameters
    ----------
    evaluation : Evaluation
        Decisions at each fold's threshold.

    Returns
    -------
    dict of str to Estimate
        By model; intervals leave out one patient at a time. Where that is impossible (a class hangs on one
        patient) the estimate has no interval and ``method`` says so.
    """
    result = {}
    labels = tuple(range(len(evaluation.classes)))
    for name, performance in evaluation.models.items():
        table = performance.table
        ratings = table["label"].to_numpy(), table["decision"].to_numpy()
        plain = cohen_kappa(*ratings, labels=labels, level=evaluation.level)
        result[name] = _if_it_exists(
            lambda ratings=ratings, table=table: cohen_kappa(  # type: ignore[misc]
                *ratings, labels=labels, cluster=table["patient_id"], level=evaluation.level
            ),
            otherwise=plain.estimate,
            level=evaluation.level,
        )
    return result


def _fold_differences(first: Performance, second: Performance) -> list[Estimate]:
    """Difference in AUC of each fold, with the variance of clustered images."""
    folds = first.table["fold"].to_numpy()
    if len(np.unique(folds)) < 2:
        raise InputError(
            f"{first.model} and {second.model} were tested in one fold; tests over folds need two",
            hint="set FOLDS_USED to 2 or more",
        )
    results = []
    for fold in np.unique(folds):
        rows = folds == fold
        part = first.table.loc[rows]
        scores = [performance.scores[rows] for performance in (first, second)]
        try:
            if len(first.classes) == 2:
                found = compare_auc(part["label"], *(s[:, 0] for s in scores), cluster=part["patient_id"])
            else:
                found = compare_macro_auc(part["label"], *scores, cluster=part["patient_id"])
            results.append(found)
        except ValueError as error:
            raise InputError(
                f"{first.model} and {second.model}, fold {fold}: {error}", hint="use fewer, larger folds"
            ) from None
    return results


def _mean_of_folds(by_fold: list[Estimate], *, n: dict[str, int], level: float) -> Estimate:
    """Mean difference in AUC over folds of different patients, with its z-test."""
    k = len(by_fold)
    value = math.fsum(result.estimate for result in by_fold) / k
    se = math.sqrt(math.fsum(result.details["variance"] for result in by_fold)) / k
    of_classes = " of the mean over classes" if "classes" in by_fold[0].n else ""
    method = f"paired DeLong{of_classes} for clustered images (Obuchowski 1997) in each fold, mean over folds"
    low = high = p_value = statistic = None
    if se > 0:
        statistic = value / se
        p_value = float(2 * stats.norm.sf(abs(statistic)))
        half = float(stats.norm.isf((1 - level) / 2)) * se
        low, high = max(value - half, -1.0), min(value + half, 1.0)
    elif value == 0:
        low, high, p_value = 0.0, 0.0, 1.0
        method += "; difference 0 with variance 0"
    else:
        method += "; the variance is 0 and the difference is not: no test"
    return Estimate(
        name="difference in AUC",
        estimate=value,
        low=low,
        high=high,
        level=level,
        method=method,
        p_value=p_value,
        statistic=statistic,
        n=n | {"folds": k},
        details={"se": se, "by_fold": [result.estimate for result in by_fold]},
    )


def _if_it_exists(make: Callable[[], Estimate], *, otherwise: float, level: float) -> Estimate:
    """What a test returns, or the bare estimate with the reason why there is no test."""
    try:
        return make()
    except ValueError as error:
        return Estimate(name="estimate without test", estimate=otherwise, level=level, method=str(error))
