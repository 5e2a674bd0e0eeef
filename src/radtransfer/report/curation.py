"""Figures, tables and numbers of the curation chapter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from radtransfer.data.cohort import table1
from radtransfer.report import figures

if TYPE_CHECKING:
    from radtransfer.data.store import CuratedDataset
    from radtransfer.report.step import Figure, Step
    from radtransfer.report.tables import Table

EXAMPLES_PER_CLASS = 3


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
        caption="From all images to those studied. Exclusions apply in this order.",
        data=rows,
    )


def cohort_table(step: Step, dataset: CuratedDataset) -> Table:
    """Table 1: who the patients are, by class."""
    return step.table(
        f"cohort_{dataset.task}",
        table1(dataset.cohort, task=dataset.task),
        caption="Included images and patients by class; patients with images of both classes count in both.",
    )


def parts_table(step: Step, dataset: CuratedDataset) -> Table:
    """Images, patients and positives in the hold-out part and in each fold."""
    frame = dataset.cohort.frame.set_index("image_id")
    parts = {"Hold-out": dataset.holdout.ids("test")} | {
        f"Fold {fold + 1}": dataset.folds.ids(fold) for fold in range(dataset.folds.n_folds)
    }
    return step.table(
        f"parts_{dataset.task}",
        pd.DataFrame(
            [
                {
                    "Part": name,
                    "Images": len(ids),
                    "Patients": frame.loc[list(ids), "patient_id"].nunique(),
                    "Positive images": int(frame.loc[list(ids), f"label_{dataset.task}"].sum()),
                }
                for name, ids in parts.items()
            ]
        ),
        caption="Parts of the study. No patient and no duplicate group stands in two of them.",
    )


def examples(step: Step, dataset: CuratedDataset, *, seed: int) -> Figure:
    """A few images of each class, drawn at random."""
    labels = dataset.labels(dataset.task)
    rng = np.random.default_rng(seed)
    words = {0: f"no {dataset.task}", 1: dataset.task}
    rows = [
        int(row)
        for label in words
        for row in np.sort(
            rng.choice(
                np.flatnonzero(labels == label),
                min(EXAMPLES_PER_CLASS, int((labels == label).sum())),
                replace=False,
            )
        )
    ]
    titles = [words[int(labels[row])] for row in rows]
    return step.figure(
        f"examples_{dataset.task}",
        figures.image_grid([dataset.images[row] for row in rows], titles),
        alt=f"Randomly drawn images as the networks see them: {', '.join(titles)}.",
        caption="Images drawn at random, as stored after curation.",
        data=dataset.cohort.frame.iloc[rows][["image_id", f"label_{dataset.task}"]],
    )


def record(step: Step, dataset: CuratedDataset) -> None:
    """Record the cohort's counts."""
    frame, task = dataset.cohort.frame, dataset.task
    classes = frame.groupby("patient_id")[f"label_{task}"].nunique()
    holdout = len(dataset.holdout.ids("test"))
    step.numbers(
        f"cohort.{task}",
        {
            "n_images": len(frame),
            "n_patients": int(frame["patient_id"].nunique()),
            "n_positive": int(frame[f"label_{task}"].sum()),
            "n_both": int((classes > 1).sum()),
            "n_holdout": holdout,
            "n_cv": len(frame) - holdout,
        },
    )
