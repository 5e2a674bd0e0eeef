"""Which images are explained: by stated rules, drawn at random or picked by score, never by their maps."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from radtransfer.errors import InputError

ROLES = {
    "boxed": "diseased with an expert's box, drawn at random",
    "random": "drawn at random from all test images",
    "found": "diseased, highest scores",
    "missed": "diseased, lowest scores",
    "false_alarm": "not diseased, highest scores",
}
"""Why an image is explained, in words."""

CHOSEN = ("found", "missed", "false_alarm")
MISTAKES = ("missed", "false_alarm")


class CaseRules(BaseModel):
    """How many images of each role are explained.

    Attributes
    ----------
    boxed : int
        Images with a box, drawn at random; all if there are fewer.
    checked : int
        Those of them, drawn at random, with which the methods are examined.
    random : int
        Images drawn at random from all test images.
    chosen : int
        Images of each of :data:`CHOSEN`.
    seed : int
        Of the draws.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    boxed: int = Field(ge=1)
    checked: int = Field(ge=2)
    random: int = Field(ge=1)
    chosen: int = Field(ge=1)
    seed: int = Field(ge=0)


def choose(predictions: pd.DataFrame, boxed: Collection[str], rules: CaseRules) -> pd.DataFrame:
    """Images to be explained.

    Parameters
    ----------
    predictions : DataFrame
        Predictions of one network for a binary task.
    boxed : collection of str
        Images with a box.
    rules : CaseRules

    Returns
    -------
    DataFrame
        Columns image_id, patient_id, fold, label, score, role and checked; an image has one row for each of
        its roles (:data:`ROLES`).

    Raises
    ------
    InputError
        If the predictions are of several networks or targets, or no test image has a box.
    """
    if predictions["model"].nunique() != 1 or predictions["target"].nunique() != 1:
        raise InputError("cases are chosen by the scores of one network for a binary task")
    test = predictions.loc[predictions["part"] == "test"].sort_values("image_id", ignore_index=True)
    with_box = test.loc[(test["label"] == 1) & test["image_id"].isin(list(boxed))]
    if with_box.empty:
        raise InputError(f"no test image of {test['task'].iloc[0]} has an expert's box")
    rng = np.random.default_rng(rules.seed)
    drawn = {"boxed": _draw(with_box, rules.boxed, rng), "random": _draw(test, rules.random, rng)}
    by_score = test.sort_values(["score", "image_id"])
    diseased, healthy = (by_score.loc[by_score["label"] == label] for label in (1, 0))
    drawn |= {
        "found": diseased.tail(rules.chosen)[::-1],
        "missed": diseased.head(rules.chosen),
        "false_alarm": healthy.tail(rules.chosen)[::-1],
    }
    checked = _draw(drawn["boxed"], rules.checked, rng)["image_id"]
    columns = ["image_id", "patient_id", "fold", "label", "score"]
    return pd.concat(
        [
            rows[columns].assign(role=role, checked=(role == "boxed") & rows["image_id"].isin(checked))
            for role, rows in drawn.items()
        ],
        ignore_index=True,
    )


def _draw(rows: pd.DataFrame, n: int, rng: np.random.Generator) -> pd.DataFrame:
    return rows.iloc[np.sort(rng.permutation(len(rows))[:n])]
