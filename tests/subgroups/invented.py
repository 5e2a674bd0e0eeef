"""Predictions of invented patients whose gaps are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from radtransfer.evaluation.performance import Evaluation, evaluate


def patients(n: int, *, images: int = 2, seed: int = 0) -> pd.DataFrame:
    """Cohort rows of n patients: sex is theirs; age, view and follow-up are each image's."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(n), images)
    age = rng.integers(18, 81, n)[patient] + np.tile(np.arange(images), n)
    return pd.DataFrame(
        {
            "image_id": [f"{i:05d}_{k}" for i, k in zip(patient, np.tile(np.arange(images), n), strict=True)],
            "patient_id": [f"{i:05d}" for i in patient],
            "sex": np.where(np.arange(n) % 2 == 0, "F", "M")[patient],
            "age_years": pd.array(age, dtype="Float64"),
            "view": np.where(rng.random(n * images) < 0.5, "AP", "PA"),
            "follow_up": pd.array(np.tile(np.arange(images), n), dtype="Int64"),
            "label_pneumonia": (np.arange(n) // 2 % 2)[patient],
        }
    )


def predictions_of(
    frame: pd.DataFrame, scores: dict[str, NDArray[np.float64]], *, n_folds: int = 2
) -> pd.DataFrame:
    """Predictions of models with given scores; the next fold's images validate."""
    fold = frame["patient_id"].astype(int).to_numpy() // 4 % n_folds
    parts = []
    for model, score in scores.items():
        for number in range(n_folds):
            for part, members in (("test", fold == number), ("validation", fold == (number + 1) % n_folds)):
                rows: Any = frame.loc[members]
                parts.append(
                    pd.DataFrame(
                        {
                            "model": model,
                            "task": "pneumonia",
                            "image_id": rows["image_id"],
                            "patient_id": rows["patient_id"],
                            "fold": number,
                            "part": part,
                            "label": rows["label_pneumonia"],
                            "score": score[members],
                            "weights": "imagenet",
                        }
                    )
                )
    return pd.concat(parts, ignore_index=True)


def evaluation_of(frame: pd.DataFrame, scores: dict[str, NDArray[np.float64]]) -> Evaluation:
    """Evaluation of the same."""
    return evaluate(predictions_of(frame, scores), n_resamples=100, seed=1)


def noisy(
    label: NDArray[np.int64], distance: NDArray[np.float64] | float, *, seed: int
) -> NDArray[np.float64]:
    """Probabilities whose classes lie apart by the distance, in standard deviations."""
    noise = np.random.default_rng(seed).normal(size=len(label))
    score: NDArray[np.float64] = 1 / (1 + np.exp(-(noise + distance * (label - 0.5))))
    return score
