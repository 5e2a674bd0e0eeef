"""Reader-averaged AUC by U-statistics, for readings in any pattern (as iMRMC).

Readers may read different cases, and different numbers of them; every comparable pair of cases a reader read
counts once. Readers and cases are random.

References
----------
.. [1] Gallas BD. One-shot estimate of MRMC variance: AUC. Acad Radiol 2006;13:353-362.
.. [2] Gallas BD, Bandos A, Samuelson FW, Wagner RF. A framework for random-effects ROC analysis: biases with
   the bootstrap and other variance estimators. Commun Stat Theory Methods 2009;38:2586-2603 (moments: eq.
   19).
.. [3] Obuchowski NA, Gallas BD, Hillis SL. Multi-reader ROC studies with split-plot designs. Acad Radiol
   2012;19:1508-1517 (degrees of freedom).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from radtransfer.stats.checks import FloatArray
from radtransfer.stats.mrmc.covariance import error_covariance, pair_sums
from radtransfer.stats.mrmc.metrics import Metric
from radtransfer.stats.mrmc.obuchowski_rockette import NO_VARIANCE, one_reader, reader_values, t_estimate
from radtransfer.stats.mrmc.result import MRMCResult
from radtransfer.stats.mrmc.study import ReaderStudy
from radtransfer.stats.result import Estimate

# Rows turn sums that include coinciding cases or readers into sums over distinct ones. The first four moments
# share the reader; in each four: same pair of cases, same positive, same negative, no case in common.
_DISTINCT_CASES = np.array([[1, 0, 0, 0], [-1, 1, 0, 0], [-1, 0, 1, 0], [1, -1, -1, 1]])
_DISTINCT = np.block([[_DISTINCT_CASES, np.zeros((4, 4))], [-_DISTINCT_CASES, _DISTINCT_CASES]])
# which of the eight moments share the positive case, the negative case, the reader
_SHARED = {
    "positive cases": np.array([1, 1, 0, 0, 1, 1, 0, 0]),
    "negative cases": np.array([1, 0, 1, 0, 1, 0, 1, 0]),
    "readers": np.array([1, 1, 1, 1, 0, 0, 0, 0]),
}
# the moment that shares this one thing only; the last moment shares nothing
_MOMENT = {"positive cases": 5, "negative cases": 6, "readers": 3}


@dataclass(frozen=True, slots=True)
class _Covariance:
    """Covariance of two reader-averaged AUCs, its main components and their degrees of freedom."""

    unbiased: float
    biased: float
    component: dict[str, float]
    df: dict[str, float]

    @classmethod
    def of(cls, numerator: FloatArray, denominator: FloatArray) -> _Covariance:
        """From the pair sums of two modalities, shape (4, n_readers, n_readers)."""
        same = np.trace(numerator, axis1=1, axis2=2), np.trace(denominator, axis1=1, axis2=2)
        sums = np.concatenate([same[0], numerator.sum(axis=(1, 2))])
        terms = np.concatenate([same[1], denominator.sum(axis=(1, 2))])
        distinct_sums, distinct_terms = _DISTINCT @ sums, _DISTINCT @ terms
        if distinct_terms[-1] <= 0:
            raise ValueError(
                "at least two readers and two cases of each class are needed for random readers and cases"
            )
        moments = np.divide(distinct_sums, distinct_terms, out=np.zeros(8), where=distinct_terms > 0)
        biased = np.divide(sums, terms, out=np.zeros(8), where=terms > 0)
        weight = distinct_terms / terms[-1]
        component, df = {}, {}
        for name, shared in _SHARED.items():
            component[name] = float(biased[_MOMENT[name]] - biased[-1])
            share = float(weight @ shared)
            df[name] = round(1 / share - 1) if share > 0 else math.inf
        weight[-1] -= 1
        return cls(float(weight @ moments), float(weight @ biased), component, df)


def _variance(
    first: _Covariance, second: _Covariance | None, between: _Covariance | None
) -> tuple[float, float, bool]:
    """Variance of an AUC or a difference, degrees of freedom, and whether the biased one had to be used."""
    if second is None or between is None:
        unbiased, biased, component, df = first.unbiased, first.biased, first.component, first.df
    else:
        unbiased = first.unbiased + second.unbiased - 2 * between.unbiased
        biased = first.biased + second.biased - 2 * between.biased
        component = {
            name: first.component[name] + second.component[name] - 2 * between.component[name]
            for name in _SHARED
        }
        df = {name: min(first.df[name], second.df[name]) for name in _SHARED}
    variance, fallback = (unbiased, False) if unbiased > 0 else (max(biased, 0.0), True)
    # Satterthwaite over the three main components, at least the smallest of their own ([3]_, appendix)
    spread = sum(component[name] ** 2 / df[name] ** 3 for name in _SHARED if 0 < df[name] < math.inf)
    total = variance**2 / spread if spread > 0 else math.inf
    return variance, max(total, min(df.values()), 1.0), fallback


def u_statistics(
    study: ReaderStudy, *, moments: Literal["central", "raw"] = "central", level: float = 0.95
) -> MRMCResult:
    """Compare the reader-averaged AUC of two modalities without any demand on balance.

    Parameters
    ----------
    study : ReaderStudy
        Two modalities (choose a pair with :meth:`ReaderStudy.with_modalities`). Any readings may be missing.
    moments : {"central", "raw"}
        Moments of the success indicators about the modality's AUC, or about 0 as iMRMC takes them. With
        complete readings both give the same variance. With unequal numbers of readings the raw ones carry the
        noise of the design: 2 % of readings missing can triple the variance or make it negative.
    level : float
        Confidence level.

    Returns
    -------
    MRMCResult
        Readers and cases random. ``t`` with floor(df) degrees of freedom as iMRMC, normal above 50 (``df2``
        None). The AUC of a modality is the mean over all comparable pairs of all readers, so that readers of
        more cases weigh more. ``components`` holds the unbiased and the biased (maximum likelihood) variance
        of the difference and its main components; if the unbiased one is negative the biased one is used and
        noted.

    Raises
    ------
    ValueError
        With other than two modalities, one reader, or fewer than two cases of a class.
    """
    if study.n_modalities != 2:
        raise ValueError(
            f"the U-statistics compare two modalities, not {study.n_modalities}: choose a pair with "
            "with_modalities"
        )
    if moments not in ("central", "raw"):
        raise ValueError(f"moments is {moments!r}; known: 'central', 'raw'")
    values = Metric().of(study)
    pairs = study.n_read_positive * study.n_read_negative
    auc = (values * pairs).sum(axis=1) / pairs.sum(axis=1)
    centre = np.zeros(values.shape) + (auc[:, None] if moments == "central" else 0.0)
    numerator, denominator = (
        sums.reshape(4, 2, study.n_readers, 2, study.n_readers) for sums in pair_sums(study, centre=centre)
    )
    covariance = {
        (a, b): _Covariance.of(numerator[:, a, :, b, :], denominator[:, a, :, b, :])
        for a, b in ((0, 0), (1, 1), (0, 1))
    }
    notes: list[str] = []
    method = "U-statistics, random readers, random cases; t with floored Satterthwaite degrees of freedom"

    def estimate(name: str, value: float, parts: tuple[_Covariance | None, ...], *, test: bool) -> Estimate:
        first, second, between = parts
        assert first is not None
        variance, df, fallback = _variance(first, second, between)
        if fallback:
            notes.append(f"{name}: the unbiased variance is not positive; the biased one is used")
        return t_estimate(
            name,
            value,
            math.sqrt(variance),
            math.inf if df > 50 else math.floor(df),
            level,
            method,
            n=study.counts,
            bounds=(-1.0, 1.0) if test else (0.0, 1.0),
            test=test,
        )

    means = tuple(
        estimate(f"auc of {name}", float(auc[i]), (covariance[i, i], None, None), test=False)
        for i, name in enumerate(study.modalities)
    )
    parts = (covariance[0, 0], covariance[1, 1], covariance[0, 1])
    difference = estimate(
        f"{study.modalities[0]} - {study.modalities[1]}", float(auc[0] - auc[1]), parts, test=True
    )
    if difference.p_value is None:
        raise ValueError(NO_VARIANCE)
    first, second, between = parts
    return MRMCResult(
        method=method,
        metric="auc",
        readers="random",
        cases="random",
        design=study.design if study.complete else f"{study.design}, incomplete",
        statistic_name="t",
        statistic=difference.statistic,
        df1=1,
        df2=difference.df,
        p_value=difference.p_value,
        differences=(difference,),
        means=means,
        values=reader_values(study, values, "auc"),
        components={
            "var_difference": first.unbiased + second.unbiased - 2 * between.unbiased,
            "var_difference_biased": first.biased + second.biased - 2 * between.biased,
            "var_first": first.unbiased,
            "var_second": second.unbiased,
            "covariance": between.unbiased,
            "var_first_biased": first.biased,
            "var_second_biased": second.biased,
            "df_difference": _variance(*parts)[1],
        }
        | {
            f"component_{name.replace(' ', '_')}": first.component[name]
            + second.component[name]
            - 2 * between.component[name]
            for name in _SHARED
        },
        n=study.counts,
        reader_differences=_reader_differences(study, values, level),
        notes=tuple(notes),
    )


def _reader_differences(study: ReaderStudy, values: FloatArray, level: float) -> tuple[Estimate, ...]:
    """Differences of each reader over cases, with the unbiased variance."""
    try:
        matrix = error_covariance(study, covariance="unbiased")
    except ValueError:  # some reader has one case of a class
        return ()
    shaped = matrix.reshape(2, study.n_readers, 2, study.n_readers)
    estimates = []
    for j, reader in enumerate(study.readers):
        for a, b in combinations(range(2), 2):
            variance = shaped[a, j, a, j] + shaped[b, j, b, j] - 2 * shaped[a, j, b, j]
            if variance < 0:
                continue
            estimates.append(
                t_estimate(
                    f"reader {reader}: {study.modalities[a]} - {study.modalities[b]}",
                    float(values[a, j] - values[b, j]),
                    math.sqrt(variance),
                    math.inf,
                    level,
                    "one reader, random cases, unbiased variance; normal",
                    n=one_reader(study, j),
                    bounds=(-1.0, 1.0),
                    test=True,
                )
            )
    return tuple(estimates)
