"""Prediction tables whose truth is known: labels are drawn with the stated probabilities."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.special import expit, softmax


def binary_predictions(
    *,
    n_patients: int,
    seed: int,
    images: int = 2,
    n_folds: int = 2,
    spread: float = 2.0,
    distort: Callable[[np.ndarray], np.ndarray] = lambda logit: logit,
) -> pd.DataFrame:
    """Two parts of each fold; the true logit is normal, and the model sees it distorted."""
    rng = np.random.default_rng(seed)
    frames = []
    for fold in range(n_folds):
        for part in ("validation", "test"):
            patient = np.repeat(np.arange(n_patients), images)
            logit = spread * rng.normal(size=len(patient))
            names = [f"{part[0]}{fold}_{p}" for p in patient]
            frames.append(
                pd.DataFrame(
                    {
                        "model": "network",
                        "task": "pneumonia",
                        "target": "pneumonia",
                        "image_id": [f"{name}_{i}" for i, name in enumerate(names)],
                        "patient_id": names,
                        "fold": fold,
                        "part": part,
                        "label": (rng.random(len(patient)) < expit(logit)).astype(int),
                        "score": expit(distort(logit)),
                        "weights": "none",
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)


def class_predictions(
    *, n_patients: int, seed: int, n_folds: int = 2, sharpness: float = 1.0
) -> pd.DataFrame:
    """The same with three classes, a row for each; the model's logits are the true ones times a sharpness."""
    rng = np.random.default_rng(seed)
    classes = ("glioma", "meningioma", "pituitary")
    frames = []
    for fold in range(n_folds):
        for part in ("validation", "test"):
            logits = 1.5 * rng.normal(size=(n_patients, 3))
            label = (rng.random((n_patients, 1)) > softmax(logits, axis=1).cumsum(axis=1)[:, :2]).sum(axis=1)
            score = softmax(sharpness * logits, axis=1)
            names = [f"{part[0]}{fold}_{p}" for p in range(n_patients)]
            frames += [
                pd.DataFrame(
                    {
                        "model": "network",
                        "task": "tumour",
                        "target": name,
                        "image_id": names,
                        "patient_id": names,
                        "fold": fold,
                        "part": part,
                        "label": (label == number).astype(int),
                        "score": score[:, number],
                        "weights": "none",
                    }
                )
                for number, name in enumerate(classes)
            ]
    return pd.concat(frames, ignore_index=True)
