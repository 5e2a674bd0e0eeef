"""Traditional image processing: gradients, local patterns, co-occurrence, histograms, filter banks.

The descriptors on which computer-aided diagnosis rested before convolutional networks, with the
settings of their papers. Lengths in pixels refer to an image of ``WORKING_SIZE``, to which larger
images are reduced first: the descriptors are local, and so see the same anatomy in every dataset.

References
----------
Dalal and Triggs, "Histograms of oriented gradients for human detection", CVPR 2005.
Ojala, Pietikäinen and Mäenpää, "Multiresolution gray-scale and rotation invariant texture
classification with local binary patterns", IEEE TPAMI 2002;24:971-987.
Haralick, Shanmugam and Dinstein, "Textural features for image classification", IEEE Trans Syst
Man Cybern 1973;3:610-621.
Jain and Farrokhnia, "Unsupervised texture segmentation using Gabor filters", Pattern Recognition
1991;24:1167-1186.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
from scipy import fft, stats
from skimage.feature import graycomatrix, graycoprops, hog, local_binary_pattern
from skimage.filters import gabor_kernel

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Image = NDArray[np.uint8]
    Features = dict[str, NDArray[np.floating[Any]]]

RECIPE: Final = 1
"""Raised when a change of this module changes features."""

WORKING_SIZE: Final = 128
"""Larger images are reduced to this side by area averaging, pixels."""

HOG_CELLS: Final = 8
"""Cells along each side; blocks of 2 x 2 cells, 9 orientations (Dalal and Triggs)."""

LBP_RINGS: Final = ((8, 1), (16, 2), (24, 3))
"""(Points, radius in pixels) of the rotation-invariant uniform patterns (Ojala et al., sec. 3)."""

GLCM_LEVELS, GLCM_DISTANCES = 32, (1, 2, 4)
"""Grey levels and distances in pixels of the co-occurrence matrices."""

HARALICK: Final = ("contrast", "dissimilarity", "homogeneity", "ASM", "correlation", "entropy")
"""Properties of a co-occurrence matrix; each enters as mean and range over 4 directions (Haralick et al.)."""

GABOR_FREQUENCIES: Final = tuple(math.sqrt(2) / 2**k for k in range(2, 6))
"""Centre frequencies an octave apart, cycles per pixel (Jain and Farrokhnia, sec. 2.2)."""

GABOR_ORIENTATIONS: Final = 6

REGIONS: Final = 3
"""Histogram and filter statistics are taken in REGIONS x REGIONS parts of the image."""


def handcrafted_features(image: Image) -> Features:
    """All descriptors of one image.

    Parameters
    ----------
    image : ndarray of uint8, shape (height, width)
        Square, as curated; at least 32 pixels.

    Returns
    -------
    dict of str to ndarray of float32
        Families ``histogram``, ``glcm``, ``lbp``, ``gabor``, ``hog``, always of the same lengths.
    """
    side = min(WORKING_SIZE, *image.shape)
    if image.shape != (side, side):
        image = np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
    return {name: np.asarray(family(image), np.float32) for name, family in FAMILIES.items()}


def feature_table(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Descriptors of many images.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, height, width)

    Returns
    -------
    ndarray of float32, shape (n, n_features)
        The families side by side, in the order of :data:`FAMILIES`.
    """
    return np.stack([np.concatenate(list(handcrafted_features(image).values())) for image in images])


def _regions(field: NDArray[Any]) -> NDArray[Any]:
    """Parts of a field, shape (REGIONS**2, pixels of a part); rows and columns that remain are left out."""
    n = len(field) // REGIONS
    parts = field[: n * REGIONS, : n * REGIONS].reshape(REGIONS, n, REGIONS, n)
    return parts.swapaxes(1, 2).reshape(REGIONS**2, n * n)


def _histogram(image: Image) -> NDArray[Any]:
    """Moments, percentiles and entropy of the grey levels; mean and spread of each region."""
    grey = image.astype(np.float64) / 255
    counts = np.bincount(image.ravel() >> 3, minlength=32) / image.size
    regions = _regions(grey)
    spread = grey.std()
    # a blank image has no shape: 0, as the normal distribution has
    shape = [stats.skew(grey, axis=None), stats.kurtosis(grey, axis=None)] if spread > 1e-9 else [0.0, 0.0]
    percentiles = np.percentile(grey, (1, 5, 25, 50, 75, 95, 99))
    return np.concatenate(
        [[grey.mean(), spread, stats.entropy(counts)], shape, percentiles, regions.mean(1), regions.std(1)]
    )


def _glcm(image: Image) -> NDArray[Any]:
    angles = (0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)
    coarse = image // (256 // GLCM_LEVELS)
    matrix = graycomatrix(coarse, GLCM_DISTANCES, angles, levels=GLCM_LEVELS, symmetric=True, normed=True)
    properties = np.stack([graycoprops(matrix, name) for name in HARALICK])
    return np.concatenate([properties.mean(axis=2).ravel(), np.ptp(properties, axis=2).ravel()])


def _lbp(image: Image) -> NDArray[Any]:
    histograms = []
    for points, radius in LBP_RINGS:
        codes = local_binary_pattern(image, points, radius, method="uniform").astype(np.intp)
        for region in (codes.ravel(), *_regions(codes)):
            histograms.append(np.bincount(region, minlength=points + 2) / region.size)
    return np.concatenate(histograms)


@cache
def _gabor_bank(side: int) -> NDArray[np.complex64]:
    """Transfer functions of the filters, shape (n_filters, side, side), mean removed."""
    bank = []
    for frequency in GABOR_FREQUENCIES:
        for k in range(GABOR_ORIENTATIONS):
            kernel = gabor_kernel(frequency, theta=k * np.pi / GABOR_ORIENTATIONS, bandwidth=1, n_stds=2)
            middle, reach = np.array(kernel.shape) // 2, min((side - 1) // 2, kernel.shape[0] // 2)
            kernel = kernel[
                max(middle[0] - reach, 0) : middle[0] + reach + 1,
                max(middle[1] - reach, 0) : middle[1] + reach + 1,
            ]
            padded = np.zeros((side, side), np.complex64)
            padded[: kernel.shape[0], : kernel.shape[1]] = kernel - kernel.mean()
            # the kernel's middle goes to the origin, so that responses stay where they arise
            bank.append(fft.fft2(np.roll(padded, [-(n // 2) for n in kernel.shape], axis=(0, 1))))
    return np.stack(bank)


def _gabor(image: Image) -> NDArray[Any]:
    """Mean and spread of the response's magnitude of each filter, and its mean in each region."""
    spectrum = fft.fft2(image.astype(np.float32) / 255)
    responses = np.abs(fft.ifft2(spectrum * _gabor_bank(len(image))))
    return np.concatenate([[r.mean(), r.std(), *_regions(r).mean(1)] for r in responses])


def _hog(image: Image) -> NDArray[Any]:
    cell = len(image) // HOG_CELLS
    return np.asarray(
        hog(
            image[: cell * HOG_CELLS, : cell * HOG_CELLS],
            orientations=9,
            pixels_per_cell=(cell, cell),
            cells_per_block=(2, 2),
            block_norm="L2-Hys",
        )
    )


FAMILIES: Final[dict[str, Callable[[Image], NDArray[Any]]]] = {
    "histogram": _histogram,
    "glcm": _glcm,
    "lbp": _lbp,
    "gabor": _gabor,
    "hog": _hog,
}
"""Descriptor families in the order of their columns."""
