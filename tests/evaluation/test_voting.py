from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from radtransfer.errors import InputError
from radtransfer.evaluation.performance import evaluate
from radtransfer.evaluation.voting import soft_vote


def planted(scores: dict[str, list[float]], *, weights: str = "imagenet") -> pd.DataFrame:
    """Scores of two images by model."""
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "model": name,
                    "task": "pneumonia",
                    "image_id": ["a", "b"],
                    "patient_id": ["p", "q"],
                    "fold": 0,
                    "part": "test",
                    "label": [0, 1],
                    "score": values,
                    "weights": weights,
                    "run": name,
                }
            )
            for name, values in scores.items()
        ],
        ignore_index=True,
    )


def test_a_vote_is_the_mean_of_its_members() -> None:
    table = planted({"one": [0.2, 0.6], "two": [0.4, 1.0], "other": [0.9, 0.9]})
    vote = soft_vote(table, ["one", "two"], name="both")
    assert vote["score"].tolist() == pytest.approx([0.3, 0.8])
    assert vote["image_id"].tolist() == ["a", "b"]
    assert vote["label"].tolist() == [0, 1]
    assert set(vote["model"]) == {"both"}


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [(("none", "imagenet"), "imagenet"), (("none", "none"), "none"), (("random", "imagenet"), "none")],
)
def test_a_vote_has_the_weights_of_those_that_have_any(kinds: tuple[str, str], expected: str) -> None:
    table = pd.concat(
        [planted({name: [0.1, 0.9]}, weights=kind) for name, kind in zip("xy", kinds, strict=True)]
    )
    assert set(soft_vote(table, ["x", "y"], name="both")["weights"]) == {expected}


def test_classes_keep_their_order() -> None:
    names = ["glioma", "meningioma", "pituitary"]
    rows = [
        {
            "model": model,
            "task": "tumour",
            "target": target,
            "image_id": image,
            "patient_id": image,
            "fold": 0,
            "part": part,
            "label": int(target == names[number % 3]),
            "score": score,
            "weights": "none",
        }
        for model, shift in (("one", 0.0), ("two", 0.1))
        for part in ("validation", "test")
        for number, image in enumerate(f"{part}{i}" for i in (9, 2, 5))
        for target, score in zip(names, (0.2 + shift, 0.3, 0.5 - shift), strict=True)
    ]
    vote = soft_vote(pd.DataFrame(rows), ["one", "two"], name="both")
    assert vote["target"].tolist() == names * 6
    assert vote["score"].to_numpy().reshape(-1, 3) == pytest.approx(np.tile([0.25, 0.3, 0.45], (6, 1)))
    decided = evaluate(vote, n_resamples=10, seed=1).models["both"]
    assert decided.classes == tuple(names)


def test_two_models_that_see_different_things_are_better_together() -> None:
    rng = np.random.default_rng(3)
    n = 600
    label = rng.integers(0, 2, n)
    base = pd.DataFrame(
        {
            "task": "pneumonia",
            "image_id": [f"{i:04d}" for i in range(n)],
            "patient_id": [f"{i:04d}" for i in range(n)],
            "fold": np.arange(n) % 2,
            "part": "test",
            "label": label,
            "weights": "none",
        }
    )
    # independent noise of the same size: the distance of the means in standard deviations grows by sqrt(2)
    seen = [1 / (1 + np.exp(-(label + rng.normal(size=n)))) for _ in range(2)]
    frames = [
        base.assign(model=name, score=score, part=part, fold=fold)
        for name, score in zip(("one", "two"), seen, strict=True)
        for part, fold in (("test", base["fold"]), ("validation", 1 - base["fold"]))
    ]
    table = pd.concat(frames, ignore_index=True)
    both = pd.concat([table, soft_vote(table, ["one", "two"], name="both")], ignore_index=True)
    found = evaluate(both, n_resamples=200, seed=1)
    gain = found.difference("both", "one", "auc")
    assert gain.low is not None
    assert gain.low > 0
    assert found.models["both"].fold_auc.to_numpy() == pytest.approx(
        [roc_auc_score(label[base["fold"] == f], (seen[0] + seen[1])[base["fold"] == f]) for f in (0, 1)]
    )


def test_what_cannot_vote_is_told() -> None:
    table = planted({"one": [0.2, 0.6], "two": [0.4, 1.0]})
    with pytest.raises(InputError, match="nobody"):
        soft_vote(table, [], name="both")
    with pytest.raises(InputError, match="three"):
        soft_vote(table, ["one", "three"], name="both")
    with pytest.raises(InputError, match="first b"):
        soft_vote(table.drop(index=3), ["one", "two"], name="both")
