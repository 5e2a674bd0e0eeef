"""Small volumes of known content."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813


def write_sphere(
    path: Path,
    *,
    center: Sequence[float],
    radius: float,
    inside: float = 0,
    outside: float = -1000,
    size: Sequence[int] = (40, 40, 30),
    spacing: Sequence[float] = (1, 1, 1),
    origin: Sequence[float] = (0, 0, 0),
    direction: Sequence[float] = (1, 0, 0, 0, 1, 0, 0, 0, 1),
) -> None:
    """A ball at a world position. World positions are SimpleITK's own, not our code's."""
    image = sitk.Image(list(size), sitk.sitkInt16)
    image.SetSpacing(list(map(float, spacing)))
    image.SetOrigin(list(map(float, origin)))
    image.SetDirection(list(map(float, direction)))
    source = sitk.PhysicalPointSource(
        sitk.sitkVectorFloat64, image.GetSize(), image.GetOrigin(), image.GetSpacing(), image.GetDirection()
    )
    world = sitk.GetArrayFromImage(source)
    far = np.linalg.norm(world - np.asarray(center), axis=-1) > radius
    filled = sitk.GetImageFromArray(np.where(far, outside, inside).astype(np.int16))
    filled.CopyInformation(image)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(filled, str(path))
