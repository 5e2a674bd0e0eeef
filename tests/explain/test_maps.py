"""Reading maps: values that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import auc

from radtransfer.errors import InputError
from radtransfer.explain.analysis import Measures, _areas, _located, _Prior
from radtransfer.explain.boxes import box_mask, in_square
from radtransfer.explain.cases import CaseRules, choose
from radtransfer.explain.maps import (
    attention,
    cell_order,
    centre_map,
    energy_inside,
    points_inside,
    rank_correlation,
    structural_likeness,
)


def corner(side: int, *, top: int, left: int, size: int) -> np.ndarray:
    box = np.zeros((side, side), dtype=bool)
    box[top : top + size, left : left + size] = True
    return box


def test_energy_is_the_share_inside_and_pointing_asks_for_the_highest() -> None:
    weights = np.array([[4.0, 1.0], [2.0, 3.0]])
    left = np.array([[True, False], [True, False]])
    assert energy_inside(weights, left) == pytest.approx(0.6)
    assert points_inside(weights, left) == 1
    assert points_inside(weights, ~left) == 0
    # a tie counts for its share
    assert points_inside(np.array([[4.0, 4.0], [0.0, 4.0]]), left) == pytest.approx(1 / 3)


def test_a_map_that_says_nothing_has_the_energy_of_the_area() -> None:
    box = corner(20, top=2, left=3, size=5)
    for nothing in (np.zeros((20, 20)), np.full((20, 20), -1.0)):
        weights = attention(nothing)
        assert weights.sum() == pytest.approx(1)
        assert energy_inside(weights, box) == pytest.approx(25 / 400)
        assert points_inside(weights, box) == pytest.approx(25 / 400)


def test_what_speaks_against_the_class_does_not_count() -> None:
    found = np.zeros((64, 64))
    found[10, 50], found[40, 20] = 1.0, -100.0
    weights = attention(found)
    assert np.unravel_index(weights.argmax(), weights.shape) == (10, 50)
    assert weights[40, 20] == pytest.approx(0, abs=1e-12)


@given(scale=st.floats(1e-18, 1e6))
def test_the_unit_of_a_map_does_not_matter(scale: float) -> None:
    found = np.random.default_rng(0).normal(size=(16, 16))
    np.testing.assert_allclose(attention(found * scale), attention(found), rtol=1e-6)


def test_the_centre_baseline_is_a_gaussian_in_the_middle() -> None:
    weights = centre_map(65)
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_array_equal(weights, weights[::-1, ::-1])
    # at one standard deviation, a quarter of the side
    assert weights[32, 32 + 16] / weights[32, 32] == pytest.approx(np.exp(-((16 / 16.25) ** 2) / 2))


def test_likeness_of_maps() -> None:
    found = attention(np.random.default_rng(1).normal(size=(32, 32)))
    assert rank_correlation(found, found**3) == pytest.approx(1)  # ranks alone matter
    assert rank_correlation(found, -found) == pytest.approx(-1)
    assert rank_correlation(found, np.ones_like(found)) == 0
    assert structural_likeness(found, 7 * found) == pytest.approx(1)
    assert structural_likeness(found, found[::-1]) < 0.5


def test_cells_are_ranked_by_their_mean() -> None:
    weights = np.zeros((8, 8))
    weights[0:4, 4:8] = 1.0
    weights[4, 0] = 8.0  # more than a cell's worth at one point, but the mean of its cell is a half
    assert list(cell_order(weights, 2)) == [1, 2, 0, 3]


def test_a_mask_holds_the_pixels_whose_centre_is_inside() -> None:
    boxes = pd.DataFrame({"x": [0.0, 0.5], "y": [0.0, 0.75], "width": [0.25, 0.49], "height": [0.5, 0.25]})
    assert box_mask(boxes, 4).astype(int).tolist() == [[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1]]


def test_boxes_move_with_the_central_square() -> None:
    boxes = pd.DataFrame(
        {
            "image_id": ["a", "b", "c"],
            "x": [50, 0, 0],
            "y": [10, 0, 0],
            "width": [100, 60, 40],
            "height": [20, 10, 5],
        }
    )
    square = in_square(boxes, height=100, width=200)  # 50 px are cut off on either side
    assert square["image_id"].tolist() == ["a", "b"]
    assert square.iloc[0, 1:].tolist() == pytest.approx([0, 0.1, 1, 0.2])
    assert square.iloc[1, 1:].tolist() == pytest.approx([0, 0, 0.1, 0.1])


def test_other_patients_boxes_leave_out_ones_own() -> None:
    boxes = pd.DataFrame(
        {
            "image_id": ["a1", "a2", "b", "c"],
            "x": [0.0, 0.0, 0.5, 0.5],
            "y": [0.0, 0.0, 0.0, 0.5],
            "width": 0.5,
            "height": 0.5,
        }
    )
    patients = pd.Series({"a1": "a", "a2": "a", "b": "b", "c": "c"})
    others = _Prior(boxes, patients).at(2)
    assert others("a1").tolist() == [[0, 1], [0, 1]]
    assert others("b").tolist() == [[2, 0], [0, 1]]
    located = _located(
        {"right": {"b": np.array([[0, 1], [0, 0]], dtype=np.float32)}}, ["b"], boxes, _Prior(boxes, patients)
    )
    assert located.loc["b", ("hit", "right")] == 1
    assert located.loc["b", ("energy", "other_boxes")] == 0
    assert located.loc["b", ("area", "")] == 0.25


def test_means_resample_patients() -> None:
    table = pd.DataFrame(
        {("energy", "x"): [0.0, 0, 0, 1, 1, 1], ("energy", "y"): [0.0] * 6}, index=list("abcdef")
    )
    table.columns = pd.MultiIndex.from_tuples(table.columns)
    clustered = pd.Series(dict(zip("abcdef", "111222", strict=True)))
    single = pd.Series(dict(zip("abcdef", "abcdef", strict=True)))
    wide, narrow = (
        Measures(table, patients, n_resamples=2000, level=0.95, seed=1).mean(
            ("energy", "x"), minus=("energy", "y"), name="m"
        )
        for patients in (clustered, single)
    )
    assert wide.estimate == narrow.estimate == 0.5
    assert (wide.low, wide.high) == (0, 1)  # two patients, all or nothing
    assert 0 < narrow.low < narrow.high < 1
    assert wide.n == {"patients": 2, "images": 6}


class _Curves:
    """As much of a record as its curves."""

    spec = type("spec", (), {"checked": ("a",)})

    def curves(self) -> pd.DataFrame:
        return pd.DataFrame(
            {
                "image_id": "a",
                "order": "lime",
                "kind": "deletion",
                "share": [1.0, 0.0, 0.5],
                "probability": [0.0, 1.0, 0.2],
            }
        )


def test_areas_are_those_of_scikit_learn() -> None:
    table = _areas([_Curves()])  # type: ignore[list-item]
    assert table.loc["a", ("deletion", "lime")] == pytest.approx(auc([0, 0.5, 1], [1, 0.2, 0]))


PREDICTIONS = pd.DataFrame(
    {
        "model": "m",
        "task": "t",
        "target": "t",
        "image_id": [f"{number:02d}" for number in range(20)],
        "patient_id": [f"p{number // 2}" for number in range(20)],
        "fold": [number % 2 for number in range(20)],
        "part": ["test"] * 18 + ["validation"] * 2,
        "label": [0, 1] * 10,
        "score": np.linspace(0, 1, 20),
    }
)
RULES = CaseRules(boxed=4, checked=2, random=5, chosen=2, seed=3)
BOXED = {"01", "03", "05", "07", "09", "11", "19", "00"}


def test_cases_follow_their_rules() -> None:
    cases = choose(PREDICTIONS, BOXED, RULES)
    of = {role: rows["image_id"].tolist() for role, rows in cases.groupby("role")}
    assert of["missed"] == ["01", "03"]  # diseased, lowest scores
    assert of["found"] == ["17", "15"]  # diseased, highest; 19 is no test image
    assert of["false_alarm"] == ["16", "14"]
    assert len(of["boxed"]) == 4
    assert set(of["boxed"]) <= BOXED - {"19", "00"}
    assert len(of["random"]) == len(set(of["random"])) == 5
    assert cases.loc[cases["checked"], "role"].tolist() == ["boxed"] * 2


def test_random_cases_depend_on_the_seed_and_not_on_scores_or_order() -> None:
    drawn = choose(PREDICTIONS, BOXED, RULES).query("role in ('random', 'boxed')")["image_id"].tolist()
    turned = PREDICTIONS.assign(score=1 - PREDICTIONS["score"]).sample(frac=1, random_state=0)
    assert choose(turned, BOXED, RULES).query("role in ('random', 'boxed')")["image_id"].tolist() == drawn
    other = choose(PREDICTIONS, BOXED, RULES.model_copy(update={"seed": 4}))
    assert other.query("role in ('random', 'boxed')")["image_id"].tolist() != drawn


@pytest.mark.parametrize(
    ("predictions", "boxed"),
    [(PREDICTIONS.assign(model=["m", "n"] * 10), BOXED), (PREDICTIONS, {"19"})],
)
def test_cases_that_cannot_be_chosen(predictions: pd.DataFrame, boxed: set[str]) -> None:
    with pytest.raises(InputError):
        choose(predictions, boxed, RULES)
