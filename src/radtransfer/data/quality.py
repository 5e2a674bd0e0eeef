"""Rules by which an image is too poor to be read by anybody, stated before any result was seen.

They are meant for failed exposures and broken exports, not for difficult images: none of the 1,000
radiographs of the NIH subset comes near them (darkest: 44 % black pixels; flattest: range 167 of 255).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from radtransfer.data.images import Grey

MIN_RANGE = 32
"""Least difference of the 1st and 99th percentile of grey values, of 255."""

MAX_CLIPPED = 0.95
"""Largest share of pixels that are entirely black or entirely white."""

BLANK = "blank (next to no contrast)"
CLIPPED = "clipped (nearly all pixels black or white)"


def too_small(size: int) -> str:
    """Reason for an image whose shortest side is below ``size`` pixels."""
    return f"shortest side below {size} px"


def defect(image: Grey, size: int) -> str:
    """Say why an image is excluded.

    Parameters
    ----------
    image : ndarray of uint8, shape (height, width)
        As read, before any reduction.
    size : int
        Side of the square that is to be stored, pixels.

    Returns
    -------
    str
        The first rule that it breaks, or nothing.
    """
    if min(image.shape) < size:
        return too_small(size)
    low, high = np.percentile(image, (1, 99))
    if high - low < MIN_RANGE:
        return BLANK
    if np.mean((image == 0) | (image == 255)) > MAX_CLIPPED:
        return CLIPPED
    return ""
