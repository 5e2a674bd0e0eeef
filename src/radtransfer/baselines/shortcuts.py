"""What can be told without looking at the anatomy: facts of the request, place, frame, a thumbnail.

A network is credited with what it adds over these. They need no disease to be seen: sicker
patients are imaged at the bedside, by other machines, at other ages (Zech et al., "Variable
generalization performance of a deep learning model to detect pneumonia in chest radiographs",
PLoS Med 2018;15:e1002683; DeGrave, Janizek and Lee, "AI for radiographic COVID-19 detection
selects shortcuts over signal", Nat Mach Intell 2021;3:610-619).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import NDArray

METADATA: Final = ("age_years", "sex", "view", "site")
"""Cohort columns the metadata baseline may use."""

BORDER_SHARE: Final = 1 / 16
"""Width of the border as a share of the image's side."""

THUMBNAIL_SIDE: Final = 32


def metadata_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Facts that come with the images: age, sex, view and site, as far as they are known.

    Parameters
    ----------
    frame : DataFrame
        Cohort, one row an image.

    Returns
    -------
    DataFrame
        ``age_years`` float64 with NaN where it is not known; the others strings, ``"unknown"``
        where they are not. A column that holds one value only is left out.
    """
    known = [name for name in METADATA if name in frame and frame[name].nunique(dropna=False) > 1]
    columns = {
        name: frame[name].astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
        if name == "age_years"
        else frame[name].astype("string").fillna("unknown").to_numpy(dtype=object)
        for name in known
    }
    return pd.DataFrame(columns, index=frame.index)


def slice_position_table(frame: pd.DataFrame) -> pd.DataFrame:
    """How far each slice lies from the middle of its series, as far as its place is known.

    Lesions lie where the organ is large, so that slices of the middle are positive more often: of a
    series with a lesion somewhere the place of a slice tells much, before one looks at it.

    Parameters
    ----------
    frame : DataFrame
        Cohort, one row an image.

    Returns
    -------
    DataFrame
        ``distance_from_middle``, ``|slice_fraction - 0.5|`` in [0, 0.5], NaN where the place is not
        known; no column if it is known of no image.
    """
    if "slice_fraction" not in frame or frame["slice_fraction"].isna().all():
        return pd.DataFrame(index=frame.index)
    place = frame["slice_fraction"].astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
    return pd.DataFrame({"distance_from_middle": np.abs(place - 0.5)}, index=frame.index)


def border_features(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean and standard deviation of the four borders' grey levels and of the whole image's.

    Finer statistics of the whole image are left out on purpose: its percentiles see how dark the
    lungs are, which is anatomy and not the frame.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, height, width)

    Returns
    -------
    ndarray of float64, shape (n, 10)
        Means of the top, bottom, left and right border and of the whole image, then their
        standard deviations. Levels run from 0 to 1.
    """
    high, wide = (max(1, round(side * BORDER_SHARE)) for side in images.shape[1:])
    parts = (
        images[:, :high],
        images[:, -high:],
        images[:, :, :wide],
        images[:, :, -wide:],
        images,
    )
    columns = [part.mean(axis=(1, 2)) for part in parts] + [part.std(axis=(1, 2)) for part in parts]
    return np.column_stack(columns) / 255


def thumbnails(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Images reduced to 32 x 32 pixels by area averaging: coarse shape and shading, no lesion's texture.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, height, width)

    Returns
    -------
    ndarray of float64, shape (n, 1024)
        Grey levels, 0 to 1.
    """
    side = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    small = [cv2.resize(image, side, interpolation=cv2.INTER_AREA).ravel() for image in images]
    return np.stack(small) / 255
