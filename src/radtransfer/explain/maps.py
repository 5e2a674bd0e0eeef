"""What is read from a map: where it points, how much of it lies in a box, how alike two of them are."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats
from skimage.metrics import structural_similarity

SMOOTHING = 0.02
"""Standard deviation of the blur that every method's map gets before it is read, share of the side.

Maps of single pixels would otherwise point at noise.
"""

CENTRE = 0.25
"""Standard deviation of the centre-bias baseline, share of the side."""

Map = NDArray[np.floating]
Mask = NDArray[np.bool_]


def attention(found: Map) -> NDArray[np.float64]:
    """What speaks for the class, smoothed, with sum 1; evenly spread where nothing does.

    Parameters
    ----------
    found : array, shape (side, side)
        Attribution map, positive where the image speaks for the class.
    """
    positive = ndimage.gaussian_filter(
        np.maximum(found, 0).astype(np.float64), SMOOTHING * len(found), mode="constant"
    )
    total = positive.sum()
    return np.asarray(positive / total) if total > 0 else np.full(found.shape, 1 / found.size)


def centre_map(side: int) -> NDArray[np.float64]:
    """Centre-bias baseline: a Gaussian in the middle, which has not seen the image; its sum is 1."""
    x = np.arange(side) - (side - 1) / 2
    profile = np.exp(-((x / (CENTRE * side)) ** 2) / 2)
    profile /= profile.sum()
    return profile[:, np.newaxis] * profile


def energy_inside(weights: Map, box: Mask) -> float:
    """Share of the map's weight inside the boxes (Wang et al., CVPR workshops 2020, section 4.3).

    Parameters
    ----------
    weights : array, shape (side, side)
        Nowhere negative, for instance :func:`attention`.
    box : array of bool, shape (side, side)
    """
    return float(weights[box].sum() / weights.sum())


def points_inside(weights: Map, box: Mask) -> float:
    """Pointing game (Zhang et al., IJCV 2018): 1 if the map's highest point lies inside the boxes, else 0.

    Of several highest points, the share of them inside.
    """
    return float(box[weights == weights.max()].mean())


def rank_correlation(one: Map, other: Map) -> float:
    """Spearman's correlation of two maps, pixel by pixel; 0 where one of them is flat."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(stats.spearmanr(one.ravel(), other.ravel()).statistic)


def structural_likeness(one: Map, other: Map) -> float:
    """Structural similarity (Wang et al. 2004) of two maps, each scaled to [0, 1]."""
    scaled = [found / max(float(found.max()), np.finfo(float).tiny) for found in (one, other)]
    return float(structural_similarity(*scaled, data_range=1.0))  # type: ignore[no-untyped-call]


def cell_order(weights: Map, cells: int) -> NDArray[np.intp]:
    """Cells of a square grid in falling order of their mean weight, shape (cells squared,)."""
    means = cv2.resize(weights.astype(np.float64), (cells, cells), interpolation=cv2.INTER_AREA)
    return np.argsort(-means.ravel(), kind="stable")
