"""Augmented views of an image: the same ones in every run, whatever the order of the images."""

from __future__ import annotations

import hashlib

import cv2
import numpy as np
from numpy.typing import NDArray

from radtransfer.training.runs import TrainingOptions

VIEW_FIELDS = frozenset(
    {"input_size", "views", "rotation_degrees", "zoom", "shift", "horizontal_flip", "views_seed"}
)
"""Training options that the stored views depend on, and no others."""


def resize(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Square grey image at another side; averages areas when it shrinks, so that nothing aliases."""
    if image.shape[0] == size:
        return np.ascontiguousarray(image)
    method = cv2.INTER_AREA if size < image.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (size, size), interpolation=method), dtype=np.uint8)


def view(image: NDArray[np.uint8], image_id: str, number: int, options: TrainingOptions) -> NDArray[np.uint8]:
    """One stored view of an image.

    Rotation, zoom and translation are drawn uniformly from the options' ranges, with a generator
    seeded by (seed, image, view) alone. The image is warped at its curated size and then reduced,
    so that the unchanged view 0 and the others lose the same detail.

    Parameters
    ----------
    image : array of uint8, shape (h, h)
    image_id : str
    number : int
        0 is the unchanged image.
    options : TrainingOptions

    Returns
    -------
    array of uint8, shape (input_size, input_size)
    """
    if number > 0:
        image = _warp(image, _generator(options.views_seed, image_id, number), options)
    return resize(image, options.input_size)


def _generator(seed: int, image_id: str, number: int) -> np.random.Generator:
    name = hashlib.sha256(f"{seed}/{number}/{image_id}".encode()).digest()
    return np.random.default_rng(int.from_bytes(name[:16], "little"))


def _warp(image: NDArray[np.uint8], rng: np.random.Generator, options: TrainingOptions) -> NDArray[np.uint8]:
    side = image.shape[0]
    angle, scale, x, y = rng.uniform(-1, 1, 4) * (
        options.rotation_degrees,
        options.zoom,
        options.shift * side,
        options.shift * side,
    )
    matrix = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), angle, 1 + scale)
    matrix[:, 2] += (x, y)
    # drawn last and always, so that turning flips on changes nothing else
    mirrored = rng.random() < 0.5
    if options.horizontal_flip and mirrored:
        matrix = matrix @ np.array([[-1, 0, side - 1], [0, 1, 0], [0, 0, 1]], dtype=np.float64)
    # reflection leaves no black wedges, which would tell the network that a view is not real
    warped = cv2.warpAffine(
        image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    return np.asarray(warped, dtype=np.uint8)
