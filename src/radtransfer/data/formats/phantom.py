"""Phantoms on disk: PNG files and a table, so that they take the same way as real images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from PIL import Image

from radtransfer.atomic import atomic_folder
from radtransfer.data.cohort import LABEL, Cohort
from radtransfer.data.formats import NO_OPTIONS
from radtransfer.data.images import decode
from radtransfer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

    from radtransfer.data.images import Grey
    from radtransfer.data.phantoms import PhantomSpec

TABLE = "cohort.parquet"


def write(spec: PhantomSpec, root: Path) -> None:
    """Draw phantoms into a folder, all or nothing.

    Parameters
    ----------
    spec : PhantomSpec
    root : Path
        New folder.
    """
    from radtransfer.data.phantoms import generate

    phantoms = generate(spec)
    with atomic_folder(root) as folder:
        for pixels, path in zip(phantoms.images, phantoms.cohort.frame["path"], strict=True):
            Image.fromarray(pixels).save(folder / path, compress_level=1)
        phantoms.cohort.frame.to_parquet(folder / TABLE)


def read_cohort(root: Path, options: Mapping[str, Any] = NO_OPTIONS) -> Cohort:
    """Read the table of phantoms; beside the common columns it has the planted truths."""
    try:
        frame = pd.read_parquet(root / TABLE)
        frame.to_dict("list")  # text is decoded when it is asked for, not when it is read
        dataset = str(frame["dataset"].iloc[0])
    except Exception as error:  # pyarrow raises its own errors and nearly every other type
        raise DataError(f"{root / TABLE} is damaged: {error}", hint=f"delete {root} and run again") from error
    tasks = tuple(name.removeprefix(LABEL) for name in map(str, frame.columns) if name.startswith(LABEL))
    return Cohort(frame, dataset, tasks)


def read_image(root: Path, row: Mapping[str, Any]) -> Grey:
    """Read a phantom."""
    return decode(root / row["path"])
