"""LUNA16: nodules on chest CT (Setio et al., Medical Image Analysis 2017;42:1-13; a selection of LIDC-IDRI).

Files that are read:

- ``subset0`` to ``subset9``, each with ``<seriesuid>.mhd`` and ``.raw``, also in a folder of the same name:
888 scans in HU; - ``annotations.csv``: 1,186 nodules, centre (world coordinates, mm) and diameter; -
``candidates_V2.csv`` or ``candidates.csv``: positions that detectors proposed, class 0 where no nodule is;
- ``annotations_with_malignancy.csv``: the readers' votes on malignancy, 1 to 5.

Only scans and annotations must be there. An image of the cohort is an axial patch: a square of stated side
in mm, centred at a nodule or a candidate, with the patient's left at its right edge and the back below,
whatever way the scan is stored. A scan is a patient.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
import pandas as pd
import SimpleITK as sitk  # noqa: N813
from pydantic import BaseModel, ConfigDict, Field

from radtransfer.data.cohort import Cohort
from radtransfer.data.delimited import read_delimited
from radtransfer.data.dicom import apply_window
from radtransfer.data.formats import NO_OPTIONS
from radtransfer.data.formats.common import parse_options
from radtransfer.data.images import DecodeError
from radtransfer.data.volumes import Grid, read_block, read_grid
from radtransfer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from radtransfer.data.images import Grey

ANNOTATIONS: Final = "annotations.csv"
CANDIDATES: Final = ("candidates_V2.csv", "candidates.csv")
VOTES: Final = "annotations_with_malignancy.csv"
POSITION: Final = ["coordX", "coordY", "coordZ"]

AIR_HU: Final = -1000
"""What lies outside of a scan."""

UNDECIDED: Final = 3
"""Mean vote of a nodule that is neither rather benign nor rather malignant; its class is unknown."""

_SAME_MM: Final = 0.01
"""Coordinates of two tables that are nearer are the same; they differ in the last printed digits."""


class Options(BaseModel):
    """What a manifest entry may choose.

    Attributes
    ----------
    patch_mm : float
        Side of a patch.
    patch_pixels : int
        Side of a patch in pixels; between the voxels of the scan, values are interpolated linearly.
    window_center, window_width : float
        HU; the default shows the lung.
    non_nodules_per_scan : int
        Candidates without nodule of each scan that become images, drawn by a hash of their position, so
        that a draw does not depend on what else lies in the folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    patch_mm: float = Field(default=64, gt=0, le=500)
    patch_pixels: int = Field(default=256, gt=0, le=2048)
    window_center: float = -600
    window_width: float = Field(default=1500, gt=0)
    non_nodules_per_scan: int = Field(default=5, ge=0)


def read_cohort(root: Path, options: Mapping[str, Any] = NO_OPTIONS) -> Cohort:
    """Cohort of the patches of the scans that are there.

    Parameters
    ----------
    root : Path
        Folder in the official layout; it need not hold all subsets.
    options : mapping
        See :class:`Options`.

    Returns
    -------
    Cohort
        Task nodule: a nodule (1) or a candidate that is none (0). Task malignant, where the votes are
        there: mean vote above 3 (1) or below (0); unknown at 3 and where nobody voted. ``official_fold`` is
        the subset, ``frame`` the slice, ``slice_fraction`` its place from foot to head; ``world_x``,
        ``world_y``, ``world_z`` and ``diameter_mm`` are as in the tables, ``malignancy_votes`` is JSON;
        ``patch_mm``, ``patch_pixels``, ``window_center`` and ``window_width`` are the options. A candidate
        whose patch holds the centre of a nodule is not drawn. ``frame.attrs["rows_without_file"]`` counts
        the nodules whose scan is not there.

    Raises
    ------
    DataError
        If scans or annotations are missing or damaged, or a position lies outside of its scan.
    """
    chosen = parse_options(Options, options, "luna16")
    scans = _scans(root)
    nodules = read_nodules(root)
    here = nodules.loc[nodules["seriesuid"].isin(scans)]
    candidates = _non_nodules(root, set(scans))
    parts = [here.assign(label_nodule=1)]
    for series, proposed in candidates.groupby("seriesuid"):
        drawn = _draw(proposed, here.loc[here["seriesuid"] == series], chosen)
        parts.append(drawn.assign(label_nodule=0))
    rows = pd.concat(parts, ignore_index=True)
    if rows.empty:
        raise DataError(f"{root} has scans, but no nodule or candidate of them in its tables")
    frame = _patches(rows, root, scans).assign(
        **{
            name: getattr(chosen, name)
            for name in ("patch_mm", "patch_pixels", "window_center", "window_width")
        }
    )
    frame.attrs["rows_without_file"] = len(nodules) - len(here)
    tasks = ("nodule", "malignant") if "malignancy_votes" in nodules else ("nodule",)
    return Cohort(frame, "luna16", tasks)


def read_image(root: Path, row: Mapping[str, Any]) -> Grey:
    """Cut the patch of one row of the cohort out of its scan."""
    return axial_patch(
        root / row["path"],
        (row["world_x"], row["world_y"], row["world_z"]),
        side_mm=row["patch_mm"],
        pixels=int(row["patch_pixels"]),
        window=(row["window_center"], row["window_width"]),
    )


def findings(root: Path, options: Mapping[str, Any] = NO_OPTIONS) -> tuple[str, ...]:
    """Say how many nodules lie in scans that are not there."""
    n_missing = read_cohort(root, options).frame.attrs["rows_without_file"]
    return (f"the scans of {n_missing} annotated nodules are not there",) if n_missing else ()


def axial_patch(
    path: Path,
    center: tuple[float, float, float],
    *,
    side_mm: float,
    pixels: int,
    window: tuple[float, float],
) -> Grey:
    """Cut an axial square out of a scan, upright whatever the directions of its axes.

    Parameters
    ----------
    path : Path
        A scan in HU.
    center : tuple of float
        World position, mm.
    side_mm : float
        Side of the square.
    pixels : int
        Side of the square.
    window : tuple of float
        Centre and width, HU.

    Returns
    -------
    ndarray of uint8, shape (pixels, pixels)
        Columns go to the patient's left, rows to the back. What lies outside of the scan is air.

    Raises
    ------
    DecodeError
        If the scan is damaged or the position lies outside of it.
    """
    grid = read_grid(path)
    if not grid.contains(grid.to_voxels([center])).all():
        raise DecodeError(f"{path} does not reach {center}")
    step = side_mm / pixels
    corner = np.array(center) - [(pixels - 1) / 2 * step, (pixels - 1) / 2 * step, 0]
    reach = (pixels - 1) * step
    corners = grid.to_voxels([np.add(corner, (x, y, 0)) for x in (0, reach) for y in (0, reach)])
    # one voxel more on each side, for the interpolation
    first = np.clip(np.floor(corners.min(axis=0)) - 1, 0, None)
    last = np.clip(np.ceil(corners.max(axis=0)) + 1, None, np.asarray(grid.size) - 1)
    block = read_block(path, first.astype(int).tolist(), (last - first + 1).astype(int).tolist())
    patch = sitk.Resample(
        block,
        (pixels, pixels, 1),
        sitk.Transform(),
        sitk.sitkLinear,
        corner.tolist(),
        (step, step, 1.0),
        np.eye(3).ravel().tolist(),
        AIR_HU,
        sitk.sitkFloat32,
    )
    values = sitk.GetArrayViewFromImage(patch)[0]
    return np.rint(apply_window(values, *window) * 255).astype(np.uint8)


def read_nodules(root: Path) -> pd.DataFrame:
    """Annotated nodules, with the readers' votes where they are there.

    Parameters
    ----------
    root : Path
        Folder with ``annotations.csv``.

    Returns
    -------
    DataFrame
        ``seriesuid``, the columns of :data:`POSITION` and ``diameter_mm``; with votes also
        ``malignancy_votes`` (JSON) and ``label_malignant``.

    Raises
    ------
    DataError
        If a table is damaged, or votes are given for a nodule that is not annotated.
    """
    nodules = _positions(root / ANNOTATIONS, ["diameter_mm"])
    if not (root / VOTES).is_file():
        return nodules
    votes = read_delimited(root / VOTES, required=["seriesuid", *POSITION, "mal_details"])
    given = [_votes(cell, line) for line, cell in votes["mal_details"].items()]
    numbers = (
        votes[POSITION]
        .apply(pd.to_numeric, errors="coerce")
        .assign(
            seriesuid=votes["seriesuid"],
            row=range(len(votes)),
            malignancy_votes=list(map(json.dumps, given)),
            mean=list(map(np.mean, given)),
        )
    )
    pairs = nodules.reset_index().merge(numbers, on="seriesuid", suffixes=("", "_voted"))
    offset = pairs[POSITION].to_numpy() - pairs[[f"{name}_voted" for name in POSITION]].to_numpy()
    same = pairs.loc[(np.abs(offset) < _SAME_MM).all(axis=1)]
    times = np.bincount(same["row"], minlength=len(votes))
    if (times != 1).any() or same["index"].duplicated().any():
        line = votes.index[int((times != 1).argmax())]
        raise DataError(f"{VOTES}, line {line}: not one nodule of {ANNOTATIONS} for each row of votes")
    means = same["mean"]
    label = (means > UNDECIDED).astype("Int64").where(means != UNDECIDED)
    voted = pd.DataFrame({"malignancy_votes": same["malignancy_votes"], "label_malignant": label})
    nodules = nodules.join(voted.set_axis(same["index"]))
    return nodules


def _scans(root: Path) -> dict[str, tuple[int, Path]]:
    """Subset and file of each scan."""
    scans: dict[str, tuple[int, Path]] = {}
    for subset in range(10):
        folder = root / f"subset{subset}"
        for path in sorted((*folder.glob("*.mhd"), *folder.glob(f"{folder.name}/*.mhd"))):
            if path.stem in scans:
                raise DataError(f"two scans are called {path.stem}: {scans[path.stem][1]} and {path}")
            scans[path.stem] = (subset, path)
    if not scans:
        raise DataError(f"{root} has no scans", hint="expected subset0/<seriesuid>.mhd to subset9")
    return scans


def _positions(path: Path, numbers: list[str]) -> pd.DataFrame:
    """A table of world positions with other numbers."""
    table = read_delimited(path, required=["seriesuid", *POSITION, *numbers])
    values = table[[*POSITION, *numbers]].apply(pd.to_numeric, errors="coerce")
    broken = ~np.isfinite(values.to_numpy(dtype=float)).all(axis=1) | table["seriesuid"].isna().to_numpy()
    if broken.any():
        raise DataError(f"{path}, line {table.index[broken][0]}: a position or number is missing")
    values.insert(0, "seriesuid", table["seriesuid"])
    repeated = values.duplicated(["seriesuid", *POSITION]).to_numpy()
    if repeated.any():
        raise DataError(f"{path}, line {table.index[repeated][0]}: the position is listed twice")
    return cast("pd.DataFrame", values)


def _non_nodules(root: Path, scans: set[str]) -> pd.DataFrame:
    path = next((root / name for name in CANDIDATES if (root / name).is_file()), None)
    if path is None:
        return pd.DataFrame(columns=["seriesuid", *POSITION])
    # half a million rows of which most belong to scans that are not drawn from: filtered before anything else
    table = _positions(path, ["class"])
    return table.loc[(table["class"] == 0) & table["seriesuid"].isin(scans)].drop(columns="class")


def _draw(candidates: pd.DataFrame, nodules: pd.DataFrame, options: Options) -> pd.DataFrame:
    """Candidates of a scan whose patches hold no nodule's centre, the first in the order of their hashes."""
    offset = np.abs(candidates[POSITION].to_numpy()[:, None] - nodules[POSITION].to_numpy()[None])
    reach = np.stack(
        [np.full(len(nodules), options.patch_mm / 2)] * 2 + [nodules["diameter_mm"] / 2], axis=-1
    )
    free: pd.DataFrame = candidates.loc[~(offset <= reach).all(axis=-1).any(axis=1)]
    hashes = [
        hashlib.sha256(" ".join(map(str, row)).encode()).digest()
        for row in free.itertuples(index=False, name=None)
    ]
    first = np.argsort(np.array(hashes, dtype=object))[: options.non_nodules_per_scan]
    return free.iloc[first]


def _patches(rows: pd.DataFrame, root: Path, scans: Mapping[str, tuple[int, Path]]) -> pd.DataFrame:
    """Columns of the cohort."""
    frames, fractions = pd.Series(0, index=rows.index), pd.Series(0.0, index=rows.index)
    for series, part in rows.groupby("seriesuid"):
        grid = read_grid(scans[str(series)][1])
        voxels = grid.to_voxels(part[POSITION])
        inside = grid.contains(voxels)
        if not inside.all():
            outside = part[POSITION].iloc[int(inside.argmin())].tolist()
            raise DataError(f"{scans[str(series)][1]} does not reach the position {outside}")
        frames[part.index] = np.rint(voxels[:, 2]).astype(int)
        fractions[part.index] = _from_foot(grid, frames[part.index])
    names = rows["seriesuid"]
    position = rows[POSITION].round(2).astype(str).agg("_".join, axis=1)
    missing = pd.Series(pd.NA, index=rows.index)
    votes = {name: rows[name] for name in ("malignancy_votes", "label_malignant") if name in rows}
    return pd.DataFrame(
        {
            "image_id": names + "@" + position,
            "patient_id": names,
            "group_id": names,
            "dataset": "luna16",
            "modality": "ct",
            "path": names.map({name: path.relative_to(root).as_posix() for name, (_, path) in scans.items()}),
            "age_years": missing.astype("Float64"),
            "sex": missing.astype("str"),
            "view": "axial",
            "site": missing.astype("str"),
            "label_nodule": rows["label_nodule"].astype("Int64"),
            **votes,
            "official_fold": names.map({name: subset for name, (subset, _) in scans.items()}).astype("Int64"),
            "frame": frames.astype("Int64"),
            "slice_fraction": fractions.astype("Float64"),
            "diameter_mm": rows["diameter_mm"].astype("Float64"),
            **dict(zip(("world_x", "world_y", "world_z"), (rows[name] for name in POSITION), strict=True)),
        }
    ).sort_values("image_id", ignore_index=True)


def _from_foot(grid: Grid, frames: pd.Series[Any]) -> pd.Series[Any]:
    """Place of slices in their scan, 0 at the foot's end to 1 at the head's."""
    fraction = frames / max(grid.size[2] - 1, 1)
    return fraction if grid.direction[2, 2] > 0 else 1 - fraction


def _votes(cell: object, line: Any) -> list[int]:
    try:
        votes = json.loads(str(cell))
    except (ValueError, RecursionError):
        votes = None
    if not isinstance(votes, list) or not votes or not all(vote in (1, 2, 3, 4, 5) for vote in votes):
        raise DataError(f"{VOTES}, line {line}: {str(cell)[:40]!r} is no list of votes from 1 to 5")
    return [int(vote) for vote in votes]
