"""Checks of input that several statistics share."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]


def binary(values: ArrayLike, *, name: str = "y") -> BoolArray:
    """Labels or decisions as booleans.

    Parameters
    ----------
    values : array_like, shape (n,)
        0 and 1 (or booleans); nothing else, so that CheXpert's -1 (uncertain) is never read as absent.
    name : str
        What to call them in an error.

    Returns
    -------
    ndarray of bool, shape (n,)

    Raises
    ------
    ValueError
        If not one-dimensional, empty, or holding any other value.
    """
    array = _vector(values, name)
    wrong = ~np.isin(array, (0, 1))
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        raise ValueError(f"{name}[{at}] is {array[at]}, neither 0 nor 1")
    return np.equal(array, 1)


def classes(y: ArrayLike) -> BoolArray:
    """Labels as booleans, both classes present; see :func:`binary`."""
    positive = binary(y)
    if positive.all() or not positive.any():
        raise ValueError(f"y holds only class {int(positive[0])}: the AUC needs both classes")
    return positive


def real(values: ArrayLike, n: int | None = None, *, name: str, infinite: bool = False) -> FloatArray:
    """Numbers as a float64 vector.

    Parameters
    ----------
    values : array_like, shape (n,)
        Numbers; NaN is refused.
    n : int, optional
        Length expected.
    name : str
        What to call them in an error.
    infinite : bool
        Whether infinite values are allowed (ranks cope with them).

    Returns
    -------
    ndarray of float64, shape (n,)

    Raises
    ------
    ValueError
        If a number is missing, infinite where not allowed, or the length differs.
    """
    array = _vector(values, name)
    if n is not None and len(array) != n:
        raise ValueError(f"{name} has {len(array)} values, {n} expected")
    wrong = np.isnan(array) if infinite else ~np.isfinite(array)
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        raise ValueError(f"{name}[{at}] is {array[at]}")
    return array


def count(value: float, *, name: str, least: int = 0) -> int:
    """A count as an integer, at least ``least``.

    Raises
    ------
    ValueError
        If it is not whole or too small.
    """
    if not math.isfinite(value) or value != int(value) or value < least:
        raise ValueError(f"{name} is {value}, not a whole number of at least {least}")
    return int(value)


def fraction(value: float, *, name: str, open_ends: bool = False) -> float:
    """A number between 0 and 1; with ``open_ends`` neither of them.

    Raises
    ------
    ValueError
        If it is outside.
    """
    inside = 0 < value < 1 if open_ends else 0 <= value <= 1
    if not inside:
        raise ValueError(f"{name} is {value}, not between 0 and 1")
    return float(value)


def _vector(values: ArrayLike, name: str) -> FloatArray:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} holds a value that is not a number") from None
    if array.ndim != 1:
        raise ValueError(f"{name} has {array.ndim} dimensions, 1 expected")
    if not array.size:
        raise ValueError(f"{name} is empty")
    return array
