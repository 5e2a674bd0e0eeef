"""What attribution maps are worth: against experts' boxes, against random weights, against themselves.

Reads stored explanations alone. After Arun et al., Radiology: Artificial Intelligence 2021;3:e200267, who
ask of a map that it lie where experts look, change when the weights do, and stay when nothing does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from radtransfer.explain.boxes import box_mask
from radtransfer.explain.maps import (
    attention,
    centre_map,
    energy_inside,
    points_inside,
    rank_correlation,
    structural_likeness,
)
from radtransfer.explain.records import (
    AGAIN,
    CENTRE_ORDER,
    NOISE,
    RANDOM_ORDER,
    RANDOMISED,
    ExplanationRecord,
)
from radtransfer.stats.bootstrap import ClusterBootstrap
from radtransfer.stats.result import Estimate

CENTRE, OTHERS = "centre", "other_boxes"
"""Maps that have not seen the image: the middle of it; the mean of the boxes of all other patients."""

BASELINES = (CENTRE, OTHERS)

BLIND_ORDERS = (CENTRE_ORDER, RANDOM_ORDER)
"""Orders of cells in insertion and deletion that have not seen the image."""

VARIANTS = (AGAIN, NOISE, *RANDOMISED)
"""What a map is compared with itself after."""

Weights = NDArray[np.float64]


@dataclass(frozen=True)
class Measures:
    """Values by image, and their means with intervals that resample patients.

    Attributes
    ----------
    table : DataFrame
        One row an image, indexed by image_id; one column a quantity.
    patients : Series
        Patient of each image, by image_id.
    n_resamples, level, seed
        Of the bootstrap.
    """

    table: pd.DataFrame
    patients: pd.Series[str]
    n_resamples: int
    level: float
    seed: int

    def mean(self, column: tuple[str, ...], *, minus: tuple[str, ...] | None = None, name: str) -> Estimate:
        """Mean of a column, or of its paired difference to another."""
        values = self.table[column].to_numpy(float)
        if minus is not None:
            values = values - self.table[minus].to_numpy(float)
        patients = self.patients.loc[self.table.index]
        bootstrap = ClusterBootstrap(patients, n_resamples=self.n_resamples, seed=self.seed)
        return bootstrap.interval(
            name,
            float(values.mean()),
            bootstrap.ratio(values, np.ones(len(values))),
            level=self.level,
            n={"patients": int(patients.nunique()), "images": len(values)},
        )


@dataclass(frozen=True)
class Examined:
    """Explanations of one task, examined.

    Attributes
    ----------
    task : str
    network : str
        Whose explanations they are.
    methods : tuple of str
    cases : DataFrame
        As :func:`radtransfer.explain.cases.choose` made it.
    boxes : DataFrame
        As :func:`radtransfer.explain.boxes.expert_boxes` made it.
    records : dict of str to list of ExplanationRecord
        By network, :attr:`network` first; the others are compared with it by Grad-CAM.
    located : Measures
        Columns (``"energy"`` | ``"hit"``, method or baseline), and (``"area"``,): of images with a box.
    checked : Measures
        Columns (``"rank"`` | ``"ssim"``, method, variant): likeness of a map to that of the trained network.
    curves : Measures
        Columns (``"insertion"`` | ``"deletion"``, method or blind order): area under the curve.
    networks : Measures
        Columns (``"energy"`` | ``"hit"``, network), and (``"rank"``, network): likeness to the maps of
        :attr:`network`.
    """

    task: str
    network: str
    methods: tuple[str, ...]
    cases: pd.DataFrame
    boxes: pd.DataFrame
    records: dict[str, list[ExplanationRecord]] = field(repr=False)
    located: Measures
    checked: Measures
    curves: Measures
    networks: Measures

    @cached_property
    def maps(self) -> dict[str, dict[str, NDArray[np.float32]]]:
        """Maps of the explained network by method and image."""
        return {method: _all_maps(self.records[self.network], method) for method in self.methods}

    def boxes_of(self, image_id: str) -> pd.DataFrame:
        """Boxes of an image."""
        return self.boxes.loc[self.boxes["image_id"] == image_id]


def examine(
    records: dict[str, list[ExplanationRecord]],
    cases: pd.DataFrame,
    boxes: pd.DataFrame,
    patients: pd.Series[str],
    *,
    task: str,
    n_resamples: int,
    level: float,
    seed: int,
) -> Examined:
    """Measure explanations.

    Parameters
    ----------
    records : dict of str to list of ExplanationRecord
        By network, the one that is explained first; the others need Grad-CAM alone.
    cases : DataFrame
        As :func:`radtransfer.explain.cases.choose` makes it.
    boxes : DataFrame
        Of the whole dataset, as :func:`radtransfer.explain.boxes.expert_boxes` makes it.
    patients : Series
        Patient of every image of the dataset, by image_id.
    task : str
    n_resamples : int
    level : float
    seed : int
    """
    network, *_ = records
    mine = records[network]
    methods = mine[0].spec.methods
    boxed = cases.loc[cases["role"] == "boxed", "image_id"].tolist()
    prior = _Prior(boxes, patients)

    def measures(table: pd.DataFrame) -> Measures:
        return Measures(table, patients, n_resamples, level, seed)

    return Examined(
        task=task,
        network=network,
        methods=methods,
        cases=cases,
        boxes=boxes,
        records=records,
        located=measures(
            _located({method: _all_maps(mine, method) for method in methods}, boxed, boxes, prior)
        ),
        checked=measures(_checked(mine, methods)),
        curves=measures(_areas(mine)),
        networks=measures(
            _across_networks({name: _all_maps(of, "grad_cam") for name, of in records.items()}, boxed, boxes)
        ),
    )


def _all_maps(records: Sequence[ExplanationRecord], method: str) -> dict[str, NDArray[np.float32]]:
    return {image_id: found for record in records for image_id, found in record.maps(method).items()}


class _Prior:
    """Where lesions lie in other patients: the mean of their images' boxes."""

    def __init__(self, boxes: pd.DataFrame, patients: pd.Series[str]) -> None:
        self.boxes, self.patients = boxes, patients

    def at(self, side: int) -> Callable[[str], Weights]:
        """Function from an image to the mean of the boxes of all patients but its own."""
        of_image = {image_id: box_mask(rows, side) for image_id, rows in self.boxes.groupby("image_id")}
        owner = self.patients.loc[[str(image_id) for image_id in of_image]].to_numpy()
        masks = np.stack(list(of_image.values())).astype(np.float64)
        total = masks.sum(axis=0)

        def others(image_id: str) -> Weights:
            rest: Weights = total - masks[owner == self.patients[image_id]].sum(axis=0)
            return rest if rest.any() else np.ones((side, side))

        return others


def _located(
    maps: dict[str, dict[str, NDArray[np.float32]]],
    images: Sequence[str],
    boxes: pd.DataFrame,
    prior: _Prior,
) -> pd.DataFrame:
    side = len(next(iter(maps.values()))[images[0]])
    others = prior.at(side)
    rows = {}
    for image_id in images:
        box = box_mask(boxes.loc[boxes["image_id"] == image_id], side)
        weights = {method: attention(found[image_id]) for method, found in maps.items()}
        weights |= {CENTRE: centre_map(side), OTHERS: others(image_id)}
        rows[image_id] = _inside(weights, box) | {("area", ""): float(box.mean())}
    return pd.DataFrame.from_dict(rows, orient="index")


def _inside(weights: dict[str, Weights], box: NDArray[np.bool_]) -> dict[tuple[str, str], float]:
    measured = {("energy", name): energy_inside(found, box) for name, found in weights.items()}
    return measured | {("hit", name): points_inside(found, box) for name, found in weights.items()}


def _checked(records: Sequence[ExplanationRecord], methods: Sequence[str]) -> pd.DataFrame:
    rows: dict[str, dict[tuple[str, str, str], float]] = {}
    for record in records:
        if not record.spec.checked:
            continue
        for method in methods:
            trained = record.maps(method)
            for variant in VARIANTS:
                for image_id, other in record.maps(method, variant).items():
                    pair = attention(trained[image_id]), attention(other)
                    row = rows.setdefault(image_id, {})
                    row["rank", method, variant] = rank_correlation(*pair)
                    row["ssim", method, variant] = structural_likeness(*pair)
    return pd.DataFrame.from_dict(rows, orient="index")


def _areas(records: Sequence[ExplanationRecord]) -> pd.DataFrame:
    curves = pd.concat([record.curves() for record in records if record.spec.checked])
    areas: dict[str, dict[tuple[str, str], float]] = {}
    for names, curve in curves.sort_values("share").groupby(["image_id", "kind", "order"]):
        image_id, kind, order = map(str, names)
        area = np.trapezoid(curve["probability"], curve["share"])
        areas.setdefault(image_id, {})[kind, order] = float(area)
    return pd.DataFrame.from_dict(areas, orient="index")


def mean_curves(examined: Examined, kind: str) -> pd.DataFrame:
    """Mean insertion or deletion curve of every method and blind order: columns order, share, probability."""
    curves = pd.concat(
        [record.curves() for record in examined.records[examined.network] if record.spec.checked]
    )
    chosen = curves.loc[curves["kind"] == kind]
    return chosen.groupby(["order", "share"], sort=False)["probability"].mean().reset_index()


def _across_networks(
    maps: dict[str, dict[str, NDArray[np.float32]]], images: Sequence[str], boxes: pd.DataFrame
) -> pd.DataFrame:
    """Grad-CAM of every network, at the size of the smallest."""
    side = min(len(next(iter(found.values()))) for found in maps.values())
    first = next(iter(maps))
    rows = {}
    for image_id in images:
        box = box_mask(boxes.loc[boxes["image_id"] == image_id], side)
        weights = {network: attention(_reduced(found[image_id], side)) for network, found in maps.items()}
        likeness = {
            ("rank", network): rank_correlation(weights[first], found) for network, found in weights.items()
        }
        rows[image_id] = _inside(weights, box) | likeness
    return pd.DataFrame.from_dict(rows, orient="index")


def _reduced(found: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(found, (side, side), interpolation=cv2.INTER_AREA), dtype=np.float32)
