"""Adjustment of p-values for the number of tests in a family.

References
----------
.. [1] Holm S. A simple sequentially rejective multiple test procedure. Scand J Stat 1979;6:65-70.
.. [2] Benjamini Y, Hochberg Y. Controlling the false discovery rate. J R Stat Soc B 1995;57:289-300.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from radtransfer.stats.checks import FloatArray

Method: TypeAlias = Literal["holm", "bh", "bonferroni"]

_METHODS: tuple[Method, ...] = ("holm", "bh", "bonferroni")


def adjust_p_values(p: ArrayLike, *, method: Method = "holm") -> FloatArray:
    """Adjusted p-values, to be compared with the level of the whole family.

    Parameters
    ----------
    p : array_like, shape (m,)
        p-values of the family; may be empty.
    method : {"holm", "bh", "bonferroni"}
        Holm and Bonferroni hold the probability of any false rejection under any dependence, and Holm rejects
        no less; Benjamini-Hochberg holds the expected share of false ones among the rejections, for
        independent or positively dependent tests.

    Returns
    -------
    ndarray of float64, shape (m,)
        In the order of ``p``, none above 1.

    Raises
    ------
    ValueError
        If a p-value is missing (NaN would silently count in *m*) or outside 0 and 1.

    Examples
    --------
    >>> adjust_p_values([0.01, 0.04, 0.03, 0.005]).tolist()
    [0.03, 0.06, 0.06, 0.02]
    """
    if method not in _METHODS:
        raise ValueError(f"method is {method!r}, not one of {', '.join(_METHODS)}")
    values = np.asarray(p, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"p has {values.ndim} dimensions, 1 expected")
    wrong = ~((values >= 0) & (values <= 1))  # true for NaN
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"p[{at}] is {values[at]}, not a p-value; leave a test that was not made out of the family"
        )
    m = len(values)
    if m == 0:
        return values
    if method == "bh":
        return np.asarray(stats.false_discovery_control(values), dtype=np.float64)
    if method == "bonferroni":
        return np.minimum(m * values, 1.0)
    # statsmodels' version collects all garbage at every call, which takes longer than the study's other tests
    order = np.argsort(values)
    adjusted = np.empty(m)
    adjusted[order] = np.minimum(np.maximum.accumulate((m - np.arange(m)) * values[order]), 1.0)
    return adjusted
