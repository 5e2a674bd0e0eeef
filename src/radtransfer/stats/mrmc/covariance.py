"""Covariance of the readers' accuracies due to the sample of cases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias, cast

import numpy as np

from radtransfer.stats.checks import FloatArray
from radtransfer.stats.mrmc.metrics import Metric, placements
from radtransfer.stats.mrmc.study import ReaderStudy

CovarianceName: TypeAlias = Literal["delong", "jackknife", "unbiased", "bootstrap"]
COVARIANCES: tuple[CovarianceName, ...] = ("delong", "jackknife", "unbiased", "bootstrap")

# pair indicators (positive case x negative case x group) held in memory at once
_CHUNK = 2_000_000


def error_covariance(
    study: ReaderStudy,
    *,
    metric: Metric | None = None,
    covariance: CovarianceName = "jackknife",
    n_resamples: int = 2000,
    seed: int = 0,
) -> FloatArray:
    """Covariance matrix of the accuracies of all modality-reader pairs.

    Parameters
    ----------
    study : ReaderStudy
    metric : Metric, optional
        AUC by default.
    covariance : {"jackknife", "delong", "unbiased", "bootstrap"}
        ``jackknife``: (K-1)^2/K times the sample covariance of the leave-one-case-out values, K the cases
        used; any metric, any design. ``delong``: DeLong, DeLong, Clarke-Pearson 1988; AUC of complete
        readings. ``unbiased``: Gallas, Pennello, Myers 2007; AUC, any design. ``bootstrap``: whole cases
        resampled within each class; any metric and design.
    n_resamples, seed : int
        For the bootstrap.

    Returns
    -------
    ndarray, shape (G, G)
        G = n_modalities * n_readers, readers varying fastest.

    Raises
    ------
    ValueError
        If the estimator does not fit the metric or the readings, or a class has fewer than two cases.
    """
    metric = metric or Metric()
    if covariance == "jackknife":
        values = _groups(metric.leave_one_out(study))
        size = values.shape[1]
        return np.asarray(np.atleast_2d(np.cov(values)) * (size - 1) ** 2 / size)
    if covariance == "bootstrap":
        return np.atleast_2d(np.cov(_resampled(study, metric, n_resamples, seed), rowvar=False))
    if covariance not in COVARIANCES:
        raise ValueError(f"covariance is {covariance!r}; known: {', '.join(COVARIANCES)}")
    if metric.name != "auc":
        raise ValueError(
            f"the {covariance} covariance is defined for the AUC, not for {metric.name}: use jackknife or "
            "bootstrap"
        )
    if covariance == "delong":
        return _delong(study)
    return -_unshared_products(*pair_sums(study, centre=metric.of(study)))


def _groups(values: FloatArray) -> FloatArray:
    return cast(FloatArray, values.reshape(-1, values.shape[-1]))


def _delong(study: ReaderStudy) -> FloatArray:
    if not study.complete:
        missing = np.argwhere(~study.read)
        i, j, k = missing[0]
        raise ValueError(
            f"the DeLong covariance needs complete readings; {len(missing)} are missing (first: reader "
            f"{study.readers[j]}, modality {study.modalities[i]}, case {study.cases[k]}): use jackknife or "
            "unbiased, or the U-statistics"
        )
    parts = placements(study)
    result = np.zeros((study.n_modalities * study.n_readers,) * 2)
    for label in (0, 1):
        members = _groups(parts[..., study.truth == label])
        if members.shape[1] < 2:
            raise ValueError("fewer than two cases of a class: no variance can be estimated")
        result += np.atleast_2d(np.cov(members)) / members.shape[1]
    return result


def _success(study: ReaderStudy) -> Iterator[tuple[slice, FloatArray]]:
    """Chunks over the positive cases of the success indicators 1, 1/2, 0; shape (G, chunk, n_negative)."""
    positive = _groups(study.rating[..., study.truth == 1])
    negative = _groups(study.rating[..., study.truth == 0])
    step = max(1, _CHUNK // negative.size)
    for start in range(0, positive.shape[1], step):
        part = slice(start, start + step)
        difference = positive[:, part, None] - negative[:, None, :]
        success = (np.sign(difference) + 1) / 2
        yield part, np.nan_to_num(success, nan=0.0)


def pair_sums(study: ReaderStudy, *, centre: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Sums over pairs of success indicators, and how many terms they have (Gallas 2006, eq. 8 to 15).

    Parameters
    ----------
    study : ReaderStudy
    centre : ndarray, shape (n_modalities, n_readers)
        Subtracted from the indicators. It cancels in a covariance when all readings exist; when some do not,
        only indicators centred at the AUC keep the noise of unequal numbers out of it.

    Returns
    -------
    numerator, denominator : ndarray, shape (4, G, G)
        Products of the indicators of two modality-reader groups summed over (0) the same pair of cases, (1)
        the same positive case, (2) the same negative case, (3) any two pairs; each includes the former ones.
    """
    read_positive = _groups(study.read[..., study.truth == 1].astype(float))
    read_negative = _groups(study.read[..., study.truth == 0].astype(float))
    n_groups = study.n_modalities * study.n_readers
    n_positive, n_negative = int((study.truth == 1).sum()), int((study.truth == 0).sum())
    same = np.zeros((n_groups, n_groups))
    by_positive = np.zeros((n_groups, n_positive))
    by_negative = np.zeros((n_groups, n_negative))
    shift = centre.ravel()
    for part, success in _success(study):
        success -= shift[:, None, None] * (read_positive[:, part, None] * read_negative[:, None, :])
        flat = success.reshape(n_groups, -1)
        same += flat @ flat.T
        by_positive[:, part] = success.sum(axis=2)
        by_negative += success.sum(axis=1)
    total = by_positive.sum(axis=1)
    numerator = np.stack(
        [same, by_positive @ by_positive.T, by_negative @ by_negative.T, np.outer(total, total)]
    )

    m, n = read_positive.sum(axis=1), read_negative.sum(axis=1)
    both_positive, both_negative = read_positive @ read_positive.T, read_negative @ read_negative.T
    denominator = np.stack(
        [
            both_positive * both_negative,
            both_positive * np.outer(n, n),
            both_negative * np.outer(m, m),
            np.outer(m * n, m * n),
        ]
    )
    return numerator, denominator


def _unshared_products(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Mean product of two groups' indicators over pairs without a common case."""
    terms = denominator[3] - denominator[1] - denominator[2] + denominator[0]
    if (terms <= 0).any():
        raise ValueError("fewer than two cases of a class: no variance can be estimated")
    return cast(FloatArray, (numerator[3] - numerator[1] - numerator[2] + numerator[0]) / terms)


def _resampled(study: ReaderStudy, metric: Metric, n_resamples: int, seed: int) -> FloatArray:
    """The metric of every group in every stratified resample of cases, shape (n_resamples, G)."""
    if n_resamples < 100:
        raise ValueError(f"{n_resamples} resamples are too few for a covariance; use at least 100")
    rng = np.random.default_rng(seed)
    weight = {
        label: rng.multinomial(size, np.full(size, 1 / size), size=n_resamples).astype(float)
        for label, size in ((1, int((study.truth == 1).sum())), (0, int((study.truth == 0).sum())))
    }
    with np.errstate(invalid="ignore", divide="ignore"):
        if metric.name == "auc":
            read = {label: _groups(study.read[..., study.truth == label].astype(float)) for label in (0, 1)}
            total = np.zeros((n_resamples, study.n_modalities * study.n_readers))
            for part, success in _success(study):
                for group, indicator in enumerate(success):
                    total[:, group] += ((weight[1][:, part] @ indicator) * weight[0]).sum(axis=1)
            values = total / (weight[1] @ read[1].T) / (weight[0] @ read[0].T)
        elif metric.name == "partial_auc":
            values = _resampled_partial(study, metric, weight)
        else:
            right = _groups(metric.correct(study))
            label = 1 if metric.name == "sensitivity" else 0
            values = (weight[label] @ np.nan_to_num(right).T) / (
                weight[label] @ (~np.isnan(right)).astype(float).T
            )
    if not np.isfinite(values).all():
        raise ValueError("some resamples leave a reader without cases of a class: use the jackknife")
    return values


def _resampled_partial(study: ReaderStudy, metric: Metric, weight: dict[int, FloatArray]) -> FloatArray:
    index = {label: np.flatnonzero(study.truth == label) for label in (0, 1)}
    rows = []
    for one, zero in zip(weight[1].astype(int), weight[0].astype(int), strict=True):
        cases = np.concatenate([np.repeat(index[1], one), np.repeat(index[0], zero)])
        drawn = ReaderStudy(
            study.rating[..., cases],
            study.truth[cases],
            study.modalities,
            study.readers,
            tuple(map(str, cases)),
        )
        rows.append(metric.of(drawn).ravel())
    return np.array(rows)
