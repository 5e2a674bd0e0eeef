"""Explanations on disk: what was asked (``ExplanationSpec``) and what came of it (``ExplanationRecord``).

As runs are, explanations are named by the content hash of their spec: what exists is not computed again.
Nothing here imports Keras.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from radtransfer import paths
from radtransfer.atomic import atomic_folder, write_json, write_text
from radtransfer.errors import RunError
from radtransfer.hashing import sha256_file, sha256_json

RECIPE = 1
"""Raised when a change of the code changes explanations."""

Randomised = Literal["head", "block", "all"]

RANDOMISED: dict[Randomised, str] = {
    "head": "head",
    "block": "head and last block",
    "all": "all layers",
}
"""Parts of a network whose weights are drawn anew, from the output downwards, in words."""

TRAINED, AGAIN, NOISE = "trained", "again", "noise"
"""Maps of the network as it is; computed once more with another seed; of the image with a little noise."""

RANDOM_ORDER, CENTRE_ORDER = "random", "centre"
"""Orders of the insertion and deletion curves that no network has a say in."""

CHECKSUMS = "SHA256SUMS"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Settings(_Frozen):
    """Everything about attribution methods that changes a map.

    Attributes
    ----------
    blur : float
        Standard deviation of the blur that stands for absence, share of the image's side.
    steps : int
        Points on the way of integrated gradients.
    window : float
        Side of the window of occlusion, share of the image's side.
    positions : int
        Places of the window along a side.
    segments, samples : int
        Superpixels and masks of LIME, about.
    kernel_width, ridge : float
        Width of LIME's kernel in cosine distance, and penalty of its regression: those of the authors'
        package.
    noise : float
        Standard deviation of the noise of the check of repeatability, grey levels of 256.
    cells : int
        Cells along a side that insertion and deletion reveal or blur.
    seed : int
        Of everything that is drawn.
    """

    blur: float = Field(default=0.15, gt=0, le=1)
    steps: int = Field(default=24, ge=1)
    window: float = Field(default=0.2, gt=0, le=1)
    positions: int = Field(default=9, ge=2)
    segments: int = Field(default=40, ge=2)
    samples: int = Field(default=100, ge=10)
    kernel_width: float = Field(default=0.25, gt=0)
    ridge: float = Field(default=1.0, ge=0)
    noise: float = Field(default=2.0, gt=0)
    cells: int = Field(default=12, ge=2)
    seed: int = Field(ge=0)


class ExplanationSpec(_Frozen):
    """Everything that changes the explanations of one run.

    Attributes
    ----------
    recipe : int
    run : str
        Hash of the run's spec, which names network, weights, data and fold.
    output : int
        Number of the class that is explained.
    methods : tuple of str
    images : tuple of str
        Images that are explained.
    checked : tuple of str
        Those of them with which the methods themselves are examined.
    settings : Settings
    """

    recipe: int = RECIPE
    run: str
    output: int = Field(ge=0)
    methods: tuple[str, ...]
    images: tuple[str, ...]
    checked: tuple[str, ...] = ()
    settings: Settings

    @cached_property
    def hash(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of the canonical JSON."""
        return sha256_json(self.model_dump(mode="json"))[:16]

    @property
    def folder(self) -> Path:
        """Where its record lies or will lie."""
        return paths.explanations_dir() / self.hash


@dataclass(frozen=True)
class ExplanationRecord:
    """Explanations of one run: a folder whose files were all checked when it was opened.

    Attributes
    ----------
    folder : Path
    spec : ExplanationSpec
    info : dict
        ``model``, ``fold``, ``cam_layer`` and its ``cam_cells``, and ``seconds`` by what was computed.
    """

    folder: Path
    spec: ExplanationSpec
    info: dict[str, Any]

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Record that lies in a folder.

        Raises
        ------
        RunError
            If a file is missing or altered.
        """
        hint = f"delete {folder} and run the notebook again"
        if not (folder / CHECKSUMS).is_file():
            raise RunError(f"no explanations in {folder}", hint=hint)
        for line in (folder / CHECKSUMS).read_text(encoding="utf-8").splitlines():
            expected, name = line.split("  ", 1)
            if not (folder / name).is_file() or sha256_file(folder / name) != expected:
                raise RunError(f"explanations {folder.name} are damaged: {name}", hint=hint)
        stored = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        return cls(folder, ExplanationSpec.model_validate(stored["spec"]), stored["info"])

    @classmethod
    def write(
        cls,
        spec: ExplanationSpec,
        *,
        maps: dict[tuple[str, str], NDArray[np.float32]],
        curves: pd.DataFrame,
        info: dict[str, Any],
    ) -> Self:
        """Write a record atomically.

        Parameters
        ----------
        spec : ExplanationSpec
        maps : dict
            By variant (:data:`TRAINED`, :data:`AGAIN`, :data:`NOISE`, keys of :data:`RANDOMISED`) and method,
            shape (n, side, side). Only their form is kept: each is divided by its largest magnitude.
        curves : DataFrame
            Columns image_id, order, kind, share, probability.
        info : dict
            JSON values.
        """
        with atomic_folder(spec.folder) as folder:
            arrays = {f"{variant}/{method}": _form(found) for (variant, method), found in maps.items()}
            np.savez(folder / "maps.npz", allow_pickle=False, **arrays)
            curves.to_parquet(folder / "curves.parquet", index=False)
            write_json(folder / "record.json", {"spec": spec.model_dump(mode="json"), "info": info})
            names = sorted(file.name for file in folder.iterdir())
            write_text(
                folder / CHECKSUMS, "".join(f"{sha256_file(folder / name)}  {name}\n" for name in names)
            )
        return cls.open(spec.folder)

    def maps(self, method: str, variant: str = TRAINED) -> dict[str, NDArray[np.float32]]:
        """Maps of a method by image, shape (side, side): of all images as trained, else of those checked."""
        images = self.spec.images if variant == TRAINED else self.spec.checked
        with np.load(self.folder / "maps.npz", allow_pickle=False) as stored:
            found = stored[f"{variant}/{method}"].astype(np.float32)
        return dict(zip(images, found, strict=True))

    def curves(self) -> pd.DataFrame:
        """Insertion and deletion curves, as :meth:`write` took them."""
        return pd.read_parquet(self.folder / "curves.parquet")


def _form(maps: NDArray[np.float32]) -> NDArray[np.float16]:
    largest = np.abs(maps).max(axis=(1, 2), keepdims=True)
    return (maps / np.where(largest > 0, largest, 1)).astype(np.float16)
