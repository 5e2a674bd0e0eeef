"""Figures, tables and numbers of the chapter on explanations."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pandas as pd
from PIL import Image

from radtransfer.explain.analysis import BASELINES, BLIND_ORDERS, CENTRE, OTHERS, VARIANTS, mean_curves
from radtransfer.explain.boxes import box_mask
from radtransfer.explain.cases import CHOSEN, MISTAKES, ROLES
from radtransfer.explain.maps import attention, energy_inside
from radtransfer.explain.records import AGAIN, NOISE, RANDOM_ORDER, RANDOMISED, TRAINED
from radtransfer.report import figures
from radtransfer.report.curation import PHOTOGRAPH_DPI, assert_shown_is_deidentified
from radtransfer.report.explorer import Explorer
from radtransfer.report.labels import model_label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from radtransfer.data.store import CuratedDataset
    from radtransfer.explain.analysis import Examined, Measures
    from radtransfer.report.step import Figure, Step
    from radtransfer.report.tables import Table
    from radtransfer.stats.result import Estimate

METHODS = {
    "grad_cam": "Grad-CAM",
    "integrated_gradients": "Integrated gradients",
    "occlusion": "Occlusion",
    "lime": "LIME",
    CENTRE: "Centre of the image",
    OTHERS: "Boxes of other patients",
    RANDOM_ORDER: "Random order",
}

CHANGES = {AGAIN: "Another seed", NOISE: "Noise"} | {
    what: f"Random {words}" for what, words in RANDOMISED.items()
}

MEASURES = {"energy": "Energy inside the box", "hit": "Pointing game"}

SHOWN = "grad_cam"
"""Method whose maps are shown where there is room for one: the most used."""

ORANGE = (213, 94, 0)
BLUE = (86, 180, 233)
STRENGTH = 0.75
PICTURE, MAP, LEVELS = 192, 64, 16
"""Sides of a picture and of a map in the browser of cases, px, and the map's shades."""

BROWSED = 8
"""Boxed images in the browser of cases, beside all the others."""


def localisation_forest(step: Step, examined: Examined) -> Figure:
    """Do maps point where experts do, better than the middle of the image would? The chapter's answer."""
    rows = [
        {"label": METHODS[method], "group": words, **_parts(_gain(examined.located, measure, method, CENTRE))}
        for measure, words in MEASURES.items()
        for method in examined.methods
    ]
    data = pd.DataFrame(rows)
    told = "; ".join(
        f"{row.group}, {row.label} {row.estimate:+.2f} ({row.low:+.2f} to {row.high:+.2f})"
        for row in data.itertuples()
    )
    return step.figure(
        f"localisation_{examined.task}",
        figures.forest(
            data,
            xlabel=f"Method − centre of the image ({examined.located.level:.0%} CI)",
            reference=0.0,
            digits=2,
        ),
        alt=f"Forest plot of what each method gains over the middle of the image. {told}.",
        caption=(
            f"{_network(examined)}: how well its maps agree with experts' boxes on "
            f"{_counts(examined.located)}, less how well a blob in the middle of the image does, which has "
            "seen nothing. Intervals resample patients. Right of the dashed line a method does better."
        ),
        data=data,
    )


def localisation_table(step: Step, examined: Examined) -> Table:
    """Energy inside the box and pointing game of every method and baseline."""
    located = examined.located
    rows = [
        {"Map": METHODS[name]}
        | {
            words: located.mean((measure, name), name=f"{words}, {METHODS[name]}")
            for measure, words in MEASURES.items()
        }
        | (
            {}
            if name in BASELINES
            else {
                f"{MEASURES[measure]} − other patients' boxes": _gain(located, measure, name, OTHERS)
                for measure in MEASURES
            }
        )
        for name in (*examined.methods, *BASELINES)
    ]
    area = located.table["area", ""].mean()
    return step.table(
        f"localisation_{examined.task}",
        pd.DataFrame(rows),
        digits=2,
        caption=(
            f"{_network(examined)}, {_counts(located)}. Energy: share of the map inside the box; a map "
            f"spread evenly would have {area:.2f}. Pointing game: share of images whose highest point lies "
            f"inside. {located.level:.0%} intervals resample patients."
        ),
    )


def reliability_table(step: Step, examined: Examined) -> Table:
    """How alike a map is to itself after nothing, little, or everything was changed."""
    checked = examined.checked
    rows = [
        {"Method": METHODS[method]}
        | {
            CHANGES[variant]: checked.mean(
                ("rank", method, variant), name=f"rank correlation, {METHODS[method]}, {CHANGES[variant]}"
            )
            for variant in VARIANTS
        }
        for method in examined.methods
    ]
    return step.table(
        f"reliability_{examined.task}",
        pd.DataFrame(rows),
        digits=2,
        caption=(
            f"Rank correlation of a map with the one of the trained network, {_counts(checked)}, with "
            f"{checked.level:.0%} intervals. The first two columns should be near 1, the last near 0."
        ),
    )


def cascade(step: Step, examined: Examined, dataset: CuratedDataset) -> Figure:
    """Maps of one image while the network's weights are drawn anew from the output downwards."""
    record = next(record for record in examined.records[examined.network] if record.spec.checked)
    image_id = record.spec.checked[0]
    assert_shown_is_deidentified(dataset, _paths(dataset, [image_id]))
    image, boxes = _image(dataset, image_id), examined.boxes_of(image_id)
    stages = {TRAINED: "Trained"} | {str(what): CHANGES[what] for what in RANDOMISED}
    panels: dict[str, NDArray[np.uint8]] = {
        f"{METHODS[method]}: {words.lower()}": painted(image, record.maps(method, what)[image_id], boxes)
        for method in examined.methods
        for what, words in stages.items()
    }
    likeness = examined.checked.table.loc[[image_id], "rank"].stack([0, 1], future_stack=True)
    return step.figure(
        f"cascade_{examined.task}",
        figures.image_grid(list(panels.values()), list(panels), columns=len(stages)),
        alt=(
            "Maps of one image by each method: of the trained network, and with the weights of its head, its "
            "last block, and all layers drawn at random."
        ),
        caption=(
            "The first of the images drawn for this check. A method that explains the network loses the "
            "lesion from left to right; one that keeps it explains the image. Blue: the expert's box."
        ),
        dpi=PHOTOGRAPH_DPI,
        data=likeness.rename("rank_correlation").rename_axis(["image_id", "method", "change"]).reset_index(),
    )


def faithfulness_curves(step: Step, examined: Examined) -> Figure:
    """Probability of the disease while the image is blurred, the most important cells first."""
    curves = mean_curves(examined, "deletion")
    data = pd.DataFrame(
        {
            "label": curves["order"].map(METHODS),
            "x": curves["share"],
            "y": curves["probability"],
        }
    )
    areas = {order: examined.curves.table["deletion", order].mean() for order in METHODS if order != OTHERS}
    return step.figure(
        f"deletion_{examined.task}",
        figures.unit_curves(data, xlabel="Share of the image blurred", ylabel="Probability of the disease"),
        alt="Deletion curves. Mean area under the curve: "
        + "; ".join(f"{METHODS[order]} {area:.2f}" for order, area in areas.items())
        + ".",
        caption=(
            "Deletion: cells are blurred in the order in which a map ranks them, mean over "
            f"{_counts(examined.curves)}. "
            "The faster the probability falls, the better the map knows what the network uses."
        ),
        data=data,
    )


def faithfulness_table(step: Step, examined: Examined) -> Table:
    """Areas under insertion and deletion curves, and what they gain over a random order."""
    rows = []
    for order in (*examined.methods, *BLIND_ORDERS):
        row: dict[str, object] = {"Order": METHODS[order]}
        for kind in ("deletion", "insertion"):
            row[kind.capitalize()] = examined.curves.mean((kind, order), name=f"area under {kind} curve")
            if order != RANDOM_ORDER:
                row[f"{kind.capitalize()} − random"] = examined.curves.mean(
                    (kind, order), minus=(kind, RANDOM_ORDER), name=f"area under {kind} curve, less random"
                )
        rows.append(row)
    return step.table(
        f"faithfulness_{examined.task}",
        pd.DataFrame(rows),
        digits=2,
        caption=(
            f"Areas under the curves of the probability of the disease, {_counts(examined.curves)}, with "
            f"{examined.curves.level:.0%} intervals. Deletion: lower is better; insertion: higher is better."
        ),
    )


def networks_table(step: Step, examined: Examined) -> Table:
    """Grad-CAM of other networks: do they look where experts do, and at the same place as the first?"""
    rows = [
        {"Network": model_label(network)}
        | {
            words: examined.networks.mean((measure, network), name=words)
            for measure, words in MEASURES.items()
        }
        | (
            {}
            if network == examined.network
            else {"Like the first": examined.networks.mean(("rank", network), name="rank correlation")}
        )
        for network in examined.records
    ]
    return step.table(
        f"explained_networks_{examined.task}",
        pd.DataFrame(rows),
        digits=2,
        caption=(
            f"Grad-CAM of each network, {_counts(examined.networks)}, with {examined.networks.level:.0%} "
            "intervals. Like the first: rank correlation of an image's maps with those of the first network."
        ),
    )


def browser(step: Step, examined: Examined, dataset: CuratedDataset) -> Explorer:
    """Cases to look through, chosen and random ones, under a few of them."""
    listed = _listed(examined)
    assert_shown_is_deidentified(dataset, _paths(dataset, listed["image_id"].tolist()))
    twin = listed.groupby("role", sort=False).head(2).loc[lambda rows: rows["role"] != "boxed"]
    return Explorer(
        figure=_gallery(
            step,
            examined,
            dataset,
            twin,
            name=f"cases_{examined.task}",
            caption="Two cases of each kind that the stated rules gave",
        ),
        kind="cases",
        title="Look through the cases",
        data={
            "methods": {method: METHODS[method] for method in examined.methods},
            "cases": [_case(examined, dataset, row) for _, row in listed.iterrows()],
        },
    )


def errors(step: Step, examined: Examined, dataset: CuratedDataset) -> Figure:
    """The most confident mistakes, with what the expert's box says."""
    listed = examined.cases.loc[examined.cases["role"].isin(MISTAKES)]
    return _gallery(
        step,
        examined,
        dataset,
        listed,
        name=f"mistakes_{examined.task}",
        caption="The most confident mistakes of each kind",
    )


def errors_table(step: Step, examined: Examined, dataset: CuratedDataset) -> Table:
    """The same as a table: score, what the expert says, and where each method points."""
    rows = []
    for row in examined.cases.loc[examined.cases["role"].isin(MISTAKES)].to_dict("records"):
        inside = _inside(examined, row["image_id"])
        rows.append(
            {
                "Image": row["image_id"],
                "Mistake": "missed" if row["role"] == "missed" else "false alarm",
                "Score": row["score"],
                "Expert": expert_says(examined, dataset, row["image_id"]),
                **{METHODS[method]: share for method, share in inside.items()},
            }
        )
    return step.table(
        f"mistakes_{examined.task}",
        pd.DataFrame(rows),
        digits=2,
        caption="The most confident mistakes, and the share of each map inside the expert's box, if any.",
    )


def rules_table(step: Step, examined: Examined) -> Table:
    """Which images were explained, and by what rule."""
    rows = [
        {"Images": int((examined.cases["role"] == role).sum()), "Rule": words}
        for role, words in ROLES.items()
    ]
    rows.append(
        {
            "Images": int(examined.cases["checked"].sum()),
            "Rule": "drawn at random from the first, for the checks",
        }
    )
    return step.table(
        f"explained_cases_{examined.task}",
        pd.DataFrame(rows)[["Rule", "Images"]],
        caption=(
            f"Test images whose explanations are shown or measured, by {_network(examined)}. Rules were set "
            "before any map was seen; each image is explained by the network that has not trained on it."
        ),
    )


def record(step: Step, examined: Examined) -> None:
    """Record agreement with experts, and the checks."""
    task, located = examined.task, examined.located
    prefix = f"explain.{task}"
    step.number(f"{prefix}.setup.network", model_label(examined.network))
    step.number(f"{prefix}.setup.n_images", len(located.table))
    step.number(f"{prefix}.setup.n_patients", int(located.patients.loc[located.table.index].nunique()))
    step.number(f"{prefix}.setup.n_checked", len(examined.checked.table))
    step.number(f"{prefix}.setup.area", float(located.table["area", ""].mean()), digits=2)
    for name in (*examined.methods, *BASELINES):
        for measure, words in MEASURES.items():
            estimate = located.mean((measure, name), name=f"{words}, {METHODS[name]}")
            step.number(f"{prefix}.{measure}.{name}", estimate, digits=2)
    for method in examined.methods:
        for measure in MEASURES:
            step.number(
                f"{prefix}.{measure}_gain.{method}", _gain(located, measure, method, CENTRE), digits=2
            )
        for variant in (NOISE, "all"):
            likeness = examined.checked.mean(("rank", method, variant), name="rank correlation of maps")
            step.number(f"{prefix}.rank_{variant}.{method}", likeness, digits=2)
        fall = examined.curves.mean(
            ("deletion", method),
            minus=("deletion", RANDOM_ORDER),
            name="area under deletion curve, less random",
        )
        step.number(f"{prefix}.deletion_gain.{method}", fall, digits=2)


def expert_says(examined: Examined, dataset: CuratedDataset, image_id: str) -> str:
    """What the expert has to say of an image, in words."""
    row = dataset.cohort.frame.set_index("image_id").loc[image_id]
    if len(examined.boxes_of(image_id)):
        return "drew a box"
    if row[f"label_{examined.task}"] == 1:
        return "drew no box on this image"
    away = row.get("slices_to_nearest_lesion")
    if away is None or pd.isna(away):
        return "no disease, no box"
    return f"no lesion here, but {away} slice{'s' if away > 1 else ''} away"


def painted(
    image: NDArray[np.uint8], found: NDArray[np.floating[Any]], boxes: pd.DataFrame, side: int = 256
) -> NDArray[np.uint8]:
    """Grey image with a map in orange over it and boxes in blue.

    Parameters
    ----------
    image : array of uint8, shape (h, h)
    found : array, shape (s, s)
        Attribution map.
    boxes : DataFrame
        Of this image, as :func:`radtransfer.explain.boxes.expert_boxes` makes them.
    side : int
        Of the result, px.

    Returns
    -------
    array of uint8, shape (side, side, 3)
    """
    grey = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)[..., np.newaxis].astype(float)
    strength = (
        STRENGTH * cv2.resize(shade(found), (side, side), interpolation=cv2.INTER_LINEAR)[..., np.newaxis]
    )
    mixed = grey * (1 - strength) + np.array(ORANGE) * strength
    picture: NDArray[np.uint8] = np.rint(mixed).astype(np.uint8)
    for x, y, width, height in boxes[["x", "y", "width", "height"]].to_numpy() * side:
        corners = (round(x), round(y)), (round(x + width) - 1, round(y + height) - 1)
        cv2.rectangle(picture, *corners, BLUE, thickness=2)
    return picture


def shade(found: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Strength of the overlay, 0 to 1: the smoothed map, by its largest value; nothing where it is flat."""
    weights = attention(found)
    return np.divide(weights, weights.max()) if np.ptp(weights) > 0 else np.zeros_like(weights)


def _gallery(
    step: Step, examined: Examined, dataset: CuratedDataset, rows: pd.DataFrame, *, name: str, caption: str
) -> Figure:
    maps = examined.maps[SHOWN]
    panels, titles, told = [], [], []
    assert_shown_is_deidentified(dataset, _paths(dataset, rows["image_id"].tolist()))
    for row in rows.to_dict("records"):
        image_id = row["image_id"]
        panels.append(painted(_image(dataset, image_id), maps[image_id], examined.boxes_of(image_id)))
        titles.append(f"{_KINDS[row['role']]}, score {row['score']:.2f}")
        told.append(expert_says(examined, dataset, image_id))
    sentences = [f"{title}: the expert {said}" for title, said in zip(titles, told, strict=True)]
    return step.figure(
        name,
        figures.image_grid(panels, titles),
        alt=f"Images with the map of {METHODS[SHOWN]} over them. {'; '.join(sentences)}.",
        caption=f"{caption}. Orange: what speaks for the disease ({METHODS[SHOWN]}); blue: the expert's box.",
        dpi=PHOTOGRAPH_DPI,
        data=rows[["image_id", "fold", "label", "score", "role"]].assign(expert=told),
    )


_KINDS = {
    "boxed": "With a box",
    "random": "Random",
    "found": "Found",
    "missed": "Missed",
    "false_alarm": "False alarm",
}


def _listed(examined: Examined) -> pd.DataFrame:
    """Cases of the browser: all chosen and random ones, and the first of those with a box."""
    roles = [*CHOSEN, "random", "boxed"]
    parts = [examined.cases.loc[examined.cases["role"] == role] for role in roles]
    return pd.concat([*parts[:-1], parts[-1].head(BROWSED)], ignore_index=True)


def _case(examined: Examined, dataset: CuratedDataset, row: pd.Series[Any]) -> dict[str, Any]:
    image_id = row["image_id"]
    names = dataset.cohort.classes_of(examined.task)
    return {
        "title": f"{_KINDS[row['role']]}: {image_id}",
        "truth": names[row["label"]],
        "score": row["score"],
        "expert": expert_says(examined, dataset, image_id),
        "image": _jpeg(_image(dataset, image_id)),
        "maps": {method: _overlay(examined.maps[method][image_id]) for method in examined.methods},
        "boxes": examined.boxes_of(image_id)[["x", "y", "width", "height"]].round(4).to_numpy(),
        "inside": _inside(examined, image_id),
    }


def _inside(examined: Examined, image_id: str) -> dict[str, float]:
    """Share of each method's map inside the boxes of an image; empty without any."""
    boxes = examined.boxes_of(image_id)
    if boxes.empty:
        return {}
    return {
        method: energy_inside(attention(found), box_mask(boxes, len(found)))
        for method in examined.methods
        for found in [examined.maps[method][image_id]]
    }


def _jpeg(image: NDArray[np.uint8]) -> str:
    small = cv2.resize(image, (PICTURE, PICTURE), interpolation=cv2.INTER_AREA)
    return _address(Image.fromarray(small), "jpeg", quality=75)


def _overlay(found: NDArray[np.floating[Any]]) -> str:
    """Map as a picture of one colour, the more opaque the stronger."""
    strength = cv2.resize(shade(found), (MAP, MAP), interpolation=cv2.INTER_AREA)
    picture = Image.fromarray(np.rint(strength * (LEVELS - 1)).astype(np.uint8), mode="P")
    picture.putpalette(ORANGE * LEVELS)
    opacity = bytes(round(255 * level / (LEVELS - 1)) for level in range(LEVELS))
    return _address(picture, "png", optimize=True, transparency=opacity)


def _address(picture: Image.Image, kind: str, **options: Any) -> str:
    """Picture as the address that holds it."""
    stream = io.BytesIO()
    picture.save(stream, format=kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"


def _image(dataset: CuratedDataset, image_id: str) -> NDArray[np.uint8]:
    return np.asarray(dataset.images[dataset.index([image_id])[0]])


def _paths(dataset: CuratedDataset, image_ids: Sequence[str]) -> list[str]:
    return [str(path) for path in dataset.cohort.frame["path"].iloc[dataset.index(image_ids)]]


def _gain(measures: Measures, measure: str, method: str, baseline: str) -> Estimate:
    name = f"{MEASURES[measure]}, {METHODS[method]} − {METHODS[baseline]}"
    return measures.mean((measure, method), minus=(measure, baseline), name=name)


def _parts(estimate: Estimate) -> dict[str, float | None]:
    return {"estimate": estimate.estimate, "low": estimate.low, "high": estimate.high}


def _network(examined: Examined) -> str:
    return model_label(examined.network)


def _counts(measures: Measures) -> str:
    n_patients = measures.patients.loc[measures.table.index].nunique()
    return f"{len(measures.table)} images of {n_patients} patients"
