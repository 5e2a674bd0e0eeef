"""Several models asked together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from radtransfer.errors import InputError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

_ROW = ("task", "target", "image_id", "patient_id", "fold", "part", "label")


def soft_vote(predictions: pd.DataFrame, members: Sequence[str], *, name: str) -> pd.DataFrame:
    """Mean of the probabilities that models of one task give, as predictions of one more model.

    Nothing is fitted, so that a vote has no part of the data to learn from; every member counts alike.

    Parameters
    ----------
    predictions : DataFrame
        Columns :data:`radtransfer.training.runs.PREDICTION_COLUMNS` without ``run``, other models included.
    members : sequence of str
        Names of the models that vote.
    name : str
        What the vote is called.

    Returns
    -------
    DataFrame
        The same columns; one row for every image, part and, of more than two classes, class. ``weights`` are
        those of the members that have any, if they are of one kind, else ``"none"``.

    Raises
    ------
    InputError
        If a member has no predictions, nobody votes, or one scored other images than another.
    """
    if not members:
        raise InputError(f"nobody takes part in the vote {name!r}")
    known = predictions["model"].unique()
    for member in members:
        if member not in known:
            raise unknown_name("model", member, known)
    rows = predictions.loc[predictions["model"].isin(members)]
    keys = [column for column in _ROW if column in rows]
    # in the order of the rows, which is that of the classes
    votes = rows.groupby(keys, sort=False, observed=True)["score"].agg(["mean", "size"]).reset_index()
    short = votes.loc[votes["size"] != len(members)]
    if not short.empty:
        raise InputError(
            f"vote {name!r}: not every model scored the same images, first {short['image_id'].iloc[0]}",
            hint="train all of them on the same folds",
        )
    weights = set(rows["weights"]) - {"none"}
    return votes.drop(columns="size").assign(
        model=name, score=votes["mean"], weights=weights.pop() if len(weights) == 1 else "none"
    )[[column for column in predictions if column != "run"]]
