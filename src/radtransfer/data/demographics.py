"""What tables and headers say of patients, read by one set of rules."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

OLDEST_YEARS = 120
"""Ages above are typing errors (one patient of the NIH is 411) and count as unknown."""

_AGE = re.compile(r"(\d{1,3})(?:\.0+)?([DWMY]?)")
_UNITS_PER_YEAR = {"": 1.0, "Y": 1.0, "M": 12.0, "W": 365.25 / 7, "D": 365.25}
_SEXES = {"F": "F", "FEMALE": "F", "M": "M", "MALE": "M"}


def parse_age(text: object) -> float | None:
    """Age in years.

    Parameters
    ----------
    text : object
        A DICOM age string such as ``058Y``, ``011M``, ``003W`` or ``010D`` (PS3.5, 6.2), or a bare number of
        years, as the NIH and the RSNA write it.

    Returns
    -------
    float or None
        None for anything else, and for an age above :data:`OLDEST_YEARS`.

    Examples
    --------
    >>> parse_age("058Y"), parse_age("006M"), parse_age("62"), parse_age("411"), parse_age("")
    (58.0, 0.5, 62.0, None, None)
    """
    match = _AGE.fullmatch(str(text).strip().upper())
    if match is None:
        return None
    years = int(match[1]) / _UNITS_PER_YEAR[match[2]]
    return years if years <= OLDEST_YEARS else None


def parse_sex(text: object) -> str | None:
    """Sex as F or M; None for anything else, such as DICOM's O.

    Examples
    --------
    >>> parse_sex("female"), parse_sex("M"), parse_sex("O")
    ('F', 'M', None)
    """
    return _SEXES.get(str(text).strip().upper())


def ages(column: pd.Series[Any]) -> pd.Series[Any]:
    """Ages of a column in years, Float64; see :func:`parse_age`."""
    return column.map({value: parse_age(value) for value in column.dropna().unique()}).astype("Float64")


def sexes(column: pd.Series[Any]) -> pd.Series[Any]:
    """Sexes of a column, F, M or null; see :func:`parse_sex`."""
    known = {value: parse_sex(value) for value in column.dropna().unique()}
    return column.map(known).astype("str")
