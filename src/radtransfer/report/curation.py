"""Figures, tables and numbers of the curation chapter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from radtransfer.data.cohort import table1
from radtransfer.data.decoding import thumbnail
from radtransfer.data.deidentify import assert_publishable, audit
from radtransfer.data.dicom import is_dicom
from radtransfer.data.fetch import fetch
from radtransfer.data.manifest import load_manifest
from radtransfer.report import figures

if TYPE_CHECKING:
    from collections.abc import Iterable

    from radtransfer.data.store import CuratedDataset
    from radtransfer.report.step import Figure, Step
    from radtransfer.report.tables import Table

EXAMPLES_PER_CLASS = 3
THUMBNAILS = 12
PHOTOGRAPH_DPI = 96


def _who(dataset: CuratedDataset) -> str:
    """What a caption says where patients are not known."""
    return "" if dataset.patients_known else " Patients are unknown: groups of similar images are counted."


def flow(step: Step, dataset: CuratedDataset) -> Figure:
    """Draw what was excluded, why, and how many images and patients remain."""
    counted = dataset.flow
    excluded = [
        (f"excluded: {exclusion.reason}", exclusion.n_images, exclusion.n_patients)
        for exclusion in counted.steps
    ]
    rows = pd.DataFrame(
        [
            ("all", counted.start.n_images, counted.start.n_patients),
            *excluded,
            ("included", counted.final.n_images, counted.final.n_patients),
        ],
        columns=["step", "images", "patients"],
    )
    return step.figure(
        f"flow_{dataset.task}",
        figures.flow_diagram(counted),
        alt="Flow diagram. "
        + "; ".join(f"{row.step}: {row.images} images, {row.patients} patients" for row in rows.itertuples())
        + ".",
        caption="From all images to those studied. Exclusions apply in this order." + _who(dataset),
        data=rows,
    )


def cohort_table(step: Step, dataset: CuratedDataset) -> Table:
    """Table 1: who the patients are, by class."""
    return step.table(
        f"cohort_{dataset.task}",
        table1(dataset.cohort, task=dataset.task),
        caption="Included images and patients by class; patients with images of several classes count in "
        "each of them." + _who(dataset),
    )


def assert_shown_is_deidentified(dataset: CuratedDataset, paths_shown: Iterable[str]) -> None:
    """Refuse to show images whose DICOM files may identify patients.

    Parameters
    ----------
    dataset : CuratedDataset
    paths_shown : iterable of str
        Files of the images, relative to the dataset's raw folder; those that are not DICOM are not audited.

    Raises
    ------
    DataError
        If a file fails its audit; names the first and its attribute.
    """
    if load_manifest().dataset(dataset.cohort.dataset).generated:
        return
    root = fetch(dataset.cohort.dataset)
    files = [root / path for path in dict.fromkeys(paths_shown)]
    assert_publishable(audit([file for file in files if is_dicom(file)], root))


def parts_table(step: Step, dataset: CuratedDataset) -> Table:
    """Images and patients in the hold-out part and in each fold, and the images of each class."""
    frame = dataset.cohort.frame.set_index("image_id")
    label, classes = frame[f"label_{dataset.task}"], dataset.cohort.classes_of(dataset.task)
    parts = {"Hold-out": dataset.holdout.ids("test")} | {
        f"Fold {fold + 1}": dataset.folds.ids(fold) for fold in range(dataset.folds.n_folds)
    }
    return step.table(
        f"parts_{dataset.task}",
        pd.DataFrame(
            [
                {
                    "Part": part,
                    "Images": len(ids),
                    "Patients": frame.loc[list(ids), "patient_id"].nunique(),
                }
                | {
                    name.capitalize(): int((label.loc[list(ids)] == value).sum())
                    for value, name in enumerate(classes)
                }
                for part, ids in parts.items()
            ]
        ),
        caption="Parts of the study, and the images of each class in them. No patient and no duplicate group "
        "stands in two parts." + _who(dataset),
    )


def examples(step: Step, dataset: CuratedDataset, *, seed: int) -> Figure:
    """A few images of each class, drawn at random."""
    labels = dataset.labels(dataset.task)
    rng = np.random.default_rng(seed)
    words = dataset.cohort.classes_of(dataset.task)
    rows = [
        int(row)
        for label in range(len(words))
        for row in np.sort(
            rng.choice(
                np.flatnonzero(labels == label),
                min(EXAMPLES_PER_CLASS, int((labels == label).sum())),
                replace=False,
            )
        )
    ]
    titles = [words[int(labels[row])] for row in rows]
    assert_shown_is_deidentified(dataset, dataset.cohort.frame["path"].iloc[rows])
    return step.figure(
        f"examples_{dataset.task}",
        figures.image_grid([dataset.images[row] for row in rows], titles),
        alt=f"Randomly drawn images as the networks see them: {', '.join(titles)}.",
        caption="Images drawn at random, as stored after curation.",
        dpi=PHOTOGRAPH_DPI,
        data=dataset.cohort.frame.iloc[rows][["image_id", f"label_{dataset.task}"]],
    )


def to_look_at(step: Step, dataset: CuratedDataset) -> Figure | Table:
    """Images left out for their quality, or kept with a warning; thumbnails of the first of them."""
    excluded, kept = dataset.excluded, dataset.cohort.frame
    warned = np.flatnonzero(kept["quality_warning"].notna())
    listed = pd.concat(
        [
            excluded[["image_id", "reason"]].assign(image="excluded"),
            kept.iloc[warned][["image_id"]].assign(reason=kept.iloc[warned]["quality_warning"], image="kept"),
        ]
    )
    if listed.empty:
        return step.table(
            f"quality_{dataset.task}",
            pd.DataFrame({"Images": ["excluded", "kept with a warning"], "Number": [0, 0]}),
            caption="Images that a rule of quality excludes or warns of.",
        )
    first = pd.concat([excluded["path"], kept["path"].iloc[warned]])[:THUMBNAILS]
    assert_shown_is_deidentified(dataset, first)
    thumbnails = [
        *dataset.excluded_thumbnails[:THUMBNAILS],
        *(thumbnail(dataset.images[row]) for row in warned[: max(0, THUMBNAILS - len(excluded))]),
    ]
    told = [f"{row.image}: {row.reason}" for row in listed.itertuples()]
    return step.figure(
        f"quality_{dataset.task}",
        figures.image_grid(thumbnails, told[:THUMBNAILS], columns=4),
        alt=f"Thumbnails of {len(thumbnails)} of {len(listed)} images: {', '.join(sorted(set(told)))}.",
        caption=f"Images that a rule of quality excludes ({len(excluded)}) or warns of ({len(warned)}); "
        f"{'all' if len(thumbnails) == len(listed) else 'the first'} of them.",
        data=listed,
    )


def record(step: Step, dataset: CuratedDataset) -> None:
    """Record the cohort's counts."""
    frame, task = dataset.cohort.frame, dataset.task
    label = frame[f"label_{task}"]
    classes = label.groupby(frame["patient_id"]).nunique()
    holdout = len(dataset.holdout.ids("test"))
    step.numbers(
        f"cohort.{task}",
        {
            "n_images": len(frame),
            "n_patients": int(frame["patient_id"].nunique()),
            "n_largest_class": int(label.value_counts().max()),
            "n_several": int((classes > 1).sum()),
            "n_holdout": holdout,
            "n_cv": len(frame) - holdout,
        },
    )
