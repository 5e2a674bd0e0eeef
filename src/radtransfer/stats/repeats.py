"""Trainings repeated from several seeds: the spread of training beside that of sampling.

A network trained again from another seed is another network. An interval that resamples patients
alone speaks of the networks at hand; one about the recipe they were trained by has to count both.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from radtransfer.stats import checks
from radtransfer.stats.result import Estimate

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def over_repeats(
    name: str,
    points: ArrayLike,
    samples: ArrayLike,
    *,
    n_clusters: int,
    level: float = 0.95,
    null: float | None = None,
    bounds: tuple[float, float] = (-math.inf, math.inf),
    n: dict[str, int] | None = None,
) -> Estimate:
    r"""Mean over repeated trainings, with an interval for new patients and new trainings.

    .. math:: \widehat{\mathrm{var}}(\bar\theta) = s^2_{\text{sampling}} + s^2_{\text{seed}} / S

    where :math:`s^2_{\text{sampling}}` is the variance, over resamples of the patients, of the mean over
    the S trainings, and :math:`s^2_{\text{seed}}` the variance of the S estimates from the data. What of
    a training's deviation depends on the patients enters both, so that the interval is rather too wide
    than too narrow. Degrees of freedom after Satterthwaite (1946), with S - 1 and the number of
    patients less 1. From one training the second part cannot be known and is left out, as ``method``
    says.

    Parameters
    ----------
    name : str
        What is estimated.
    points : array_like, shape (S,)
        Estimate of each training, or of each pair of trainings of a difference.
    samples : array_like, shape (S, n_resamples)
        The same from each resample of the patients; all trainings by the same resamples.
    n_clusters : int
        Number of patients that were resampled.
    level : float
        Confidence level.
    null : float, optional
        Value that the p-value is for; none by default.
    bounds : (float, float)
        Least and largest value that there can be; an interval ends there.
    n : dict of str to int, optional
        Counts to report, beside the number of trainings.

    Returns
    -------
    Estimate
        ``details`` holds ``sd_sampling`` of the mean, and ``sd_seed`` of a single training, None from one.
        If nothing varies there is no interval.

    Raises
    ------
    ValueError
        If shapes do not agree or a value is not finite.
    """
    checks.fraction(level, name="level", open_ends=True)
    point = checks.real(points, name="points")
    resampled = np.asarray(samples, dtype=np.float64)
    if resampled.ndim != 2 or len(resampled) != len(point):
        raise ValueError(f"{name}: samples of shape {resampled.shape} for {len(point)} trainings")
    if not np.isfinite(resampled).all():
        raise ValueError(f"{name}: undefined in a resample, which lacks a class")
    clusters = checks.count(n_clusters, name="n_clusters", least=2)
    repeats = len(point)
    sampling = float(resampled.mean(axis=0).var(ddof=1))
    seed = float(point.var(ddof=1)) if repeats > 1 else None
    of_mean = (seed or 0.0) / repeats
    variance = sampling + of_mean
    mean = float(point.mean())
    counts = {**(n or {}), "trainings": repeats}
    if variance == 0:
        # the same predictions throughout, as of two arms that are one
        alike = None if null is None else float(mean == null)
        return Estimate(
            name=name,
            estimate=mean,
            level=level,
            method="nothing varies",
            p_value=alike,
            n=counts,
            details={"sd_sampling": 0.0, "sd_seed": seed},
        )
    inverse = (sampling / variance) ** 2 / (clusters - 1)
    if repeats > 1:
        inverse += (of_mean / variance) ** 2 / (repeats - 1)
    df, error = 1 / inverse, math.sqrt(variance)
    reach = float(stats.t.ppf((1 + level) / 2, df)) * error
    statistic = None if null is None else (mean - null) / error
    patients = f"patients (cluster bootstrap, {resampled.shape[1]} resamples)"
    told = (
        f"mean of {repeats} trainings, t interval for the spread of {patients} and of trainings"
        if repeats > 1
        else f"one training, t interval for the spread of {patients} alone"
    )
    return Estimate(
        name=name,
        estimate=mean,
        low=max(mean - reach, bounds[0]),
        high=min(mean + reach, bounds[1]),
        level=level,
        method=told,
        p_value=None if statistic is None else float(2 * stats.t.sf(abs(statistic), df)),
        statistic=statistic,
        df=df,
        n=counts,
        details={
            "sd_sampling": math.sqrt(sampling),
            "sd_seed": None if seed is None else math.sqrt(seed),
        },
    )
