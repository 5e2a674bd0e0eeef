"""The 1,000 chest X-rays of the study: a subset of NIH ChestX-ray14 in one folder ``images``.

Two sources hold it: reduced copies with their rows of NIH's table in ``metadata.csv``, and the
originals with NIH's whole table. The dataset is defined at 256 px, so both give the same cohort and pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from radtransfer.data.delimited import read_delimited
from radtransfer.data.formats import NO_OPTIONS, chestxray14
from radtransfer.data.images import resize_shortest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

    from radtransfer.data.cohort import Cohort
    from radtransfer.data.images import Grey

METADATA = "metadata.csv"
PREFIX = "nih_"

SIZE = 256
"""Shortest side of the reduced copies, pixels."""


def read_cohort(root: Path, options: Mapping[str, Any] = NO_OPTIONS) -> Cohort:
    """Cohort of the subset.

    Parameters
    ----------
    root : Path
        Folder with ``images`` and either ``metadata.csv`` or NIH's table.

    Returns
    -------
    Cohort
        Task pneumonia, as in :mod:`radtransfer.data.formats.chestxray14`.
    """
    files = {path.name: path.relative_to(root).as_posix() for path in (root / "images").glob("*.png")}
    if (root / METADATA).is_file():
        names = {"image": "Image Index"} | {PREFIX + name: name for name in chestxray14.COLUMNS[1:]}
        table = read_delimited(root / METADATA, required=names)[list(names)].rename(columns=names)
        chestxray14.refuse_repeated(table, root / METADATA)
    else:
        table = chestxray14.read_table(root)
    return chestxray14.cohort_of(table, files, dataset="nih_pneumonia_1000")


def read_image(root: Path, row: Mapping[str, Any]) -> Grey:
    """Decode the image of one row; an original is reduced as the copies were."""
    image = chestxray14.read_image(root, row)
    return resize_shortest(image, SIZE) if min(image.shape) > SIZE else image
