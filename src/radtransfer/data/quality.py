"""Rules by which an image is too poor to be read by anybody, or is to be looked at, stated beforehand.

Exclusions are meant for failed exposures and broken exports, not for difficult images. A rule that
would also hit sound images of a real collection does not exclude: it writes a warning into the cohort.

Measured on 1,000 radiographs of the NIH, 5,856 of Kermany et al., 7,019 MRI slices and 3,511 CT slices
of PHE-SICH: no radiograph and no MRI slice breaks a rule that excludes (flattest range 79 of 255, most
black or white pixels 72 %), and none of them gets a warning. In PHE-SICH 66 slices are empty, of the
72 of which less than 2 % is not black in the originals; the other 6 get a warning. None of them is
within three slices of a lesion.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from radtransfer.data.images import Grey

MIN_RANGE: Final = 32
"""Least difference of the 1st and 99th percentile of grey values, of 255."""

DARK: Final = 20
"""Grey values up to this one are black to the eye: air and the noise of compression."""

MIN_LIT: Final = 0.02
"""Least share of pixels that are not dark. A head of 10 cm in a field of 25 cm covers 12 %."""

MAX_CLIPPED: Final = 0.95
"""Largest share of pixels that are entirely black or entirely white.

In CT a window makes air black and bone white on purpose: 180 slices of PHE-SICH, through the
vertex, are above. There it is a warning.
"""

MAX_ASPECT: Final = 4
"""Largest ratio of the sides: of a longer strip the stored square would show less than a quarter."""

WIDE: Final = 2
"""Ratio of the sides from which the stored square shows less than half of the image."""

BLANK: Final = "blank (next to no contrast)"
EMPTY: Final = "empty (nearly all pixels dark)"
CLIPPED: Final = "clipped (nearly all pixels black or white)"
STRIP: Final = f"a strip (one side over {MAX_ASPECT} times the other)"

MOSTLY_CUT: Final = f"more than half is cut off (one side over {WIDE} times the other)"
INVERTED: Final = "looks inverted (frontal chest radiographs only)"

SAMPLED: Final = 256
"""Rows that are enough to judge by; of twice as many every second one is read."""

_SIDE: Final = 32
_MIDLINE_WIDTH: Final = 0.3
_RISE: Final = 0.5


def too_small(size: int) -> str:
    """Reason for an image whose shortest side is below ``size`` pixels."""
    return f"shortest side below {size} px"


def defect(image: Grey, size: int, *, modality: str) -> str:
    """Say why an image is excluded.

    Parameters
    ----------
    image : ndarray of uint8, shape (height, width)
        As read, before any reduction.
    size : int
        Side of the square that is to be stored, pixels.
    modality : str
        As in the cohort.

    Returns
    -------
    str
        The first rule that it breaks, or nothing.
    """
    if min(image.shape) < size:
        return too_small(size)
    if max(image.shape) > MAX_ASPECT * min(image.shape):
        return STRIP
    share = _shares(image)
    if share[: DARK + 1].sum() > 1 - MIN_LIT:
        return EMPTY
    low, high = np.searchsorted(share.cumsum(), (0.01, 0.99))
    if high - low < MIN_RANGE:
        return BLANK
    return CLIPPED if modality != "ct" and _clipped(share) else ""


def warning(image: Grey, *, modality: str) -> str:
    """Say what a person should look at in an image that is not excluded.

    Parameters
    ----------
    image : ndarray of uint8, shape (height, width)
        As read, before any reduction.
    modality : str
        As in the cohort.

    Returns
    -------
    str
        Every warning, separated by semicolons, or nothing.
    """
    found = [
        (MOSTLY_CUT, max(image.shape) > WIDE * min(image.shape)),
        (CLIPPED, modality == "ct" and _clipped(_shares(image))),
        (INVERTED, modality == "xray" and polarity(image) < 0),
    ]
    return "; ".join(words for words, holds in found if holds)


def polarity(image: Grey) -> float:
    """Tell a frontal chest radiograph from its negative.

    Spine and heart make the midline bright, the abdomen makes the lower part bright: the image,
    reduced to 32 x 32 pixels, is correlated with exp(-(x/0.3)^2) + y/2, x and y from -1 to 1. Grey
    values that are turned round turn the sign. No parameter was fitted; of the seven such patterns that were
    tried this is the one without an error.

    Measured: negative, that is wrong, for none of the 1,000 radiographs of the NIH, none of the 5,856
    of Kermany et al. and none of 869 phantoms; for 1 of 5,030 of PneumoniaMNIST, at 28 px. Positive, that is
    missed, for as many of their negatives.

    Parameters
    ----------
    image : ndarray of uint8, shape (height, width)

    Returns
    -------
    float
        Correlation, below 0 for a negative; 0 if the image is constant.
    """
    some = _sample(image)
    small = cv2.resize(some, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float64)
    small -= small.mean()
    norm = np.linalg.norm(small)
    return float((small * _upright()).sum() / norm) if norm else 0.0


@cache
def _upright() -> NDArray[np.float64]:
    """Pattern of :func:`polarity`, of mean 0 and norm 1."""
    y, x = np.mgrid[-1 : 1 : _SIDE * 1j, -1 : 1 : _SIDE * 1j]
    pattern = np.exp(-((x / _MIDLINE_WIDTH) ** 2)) + _RISE * y
    pattern -= pattern.mean()
    return np.asarray(pattern / np.linalg.norm(pattern))


def _shares(image: Grey) -> NDArray[np.float64]:
    """Share of pixels that have each grey value, shape (256,)."""
    some = _sample(image)
    counts = cv2.calcHist([some], [0], None, [256], [0, 256]).ravel().astype(np.float64)
    return np.asarray(counts / some.size)


def _sample(image: Grey) -> Grey:
    """Every so many-th row of a large image, see :data:`SAMPLED`, otherwise all; nothing is copied."""
    return image[:: max(1, len(image) // SAMPLED)]


def _clipped(share: NDArray[np.float64]) -> bool:
    return bool(share[0] + share[255] > MAX_CLIPPED)
