from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from toy_cohorts import cohort

from radtransfer.data.cohort import Cohort, Flow, FlowCount, FlowStep, select, table1
from radtransfer.errors import InputError


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("sex", ["F", "f"], "column 'sex' has 'f' in row 1"),
        ("age_years", [40.0, 121.0], r"'age_years' has 121\.0"),
        ("label_pneumonia", [0, 2], "label 2 of pneumonia is none of 0 to 1"),
        ("label_pneumonia", [0, -1], "'label_pneumonia' has -1"),
        ("official_split", ["train", "dev"], "'official_split' has 'dev'"),
        ("image_id", ["a", "a"], "'image_id' has 'a'"),
        ("patient_id", ["p", None], "'patient_id'"),
    ],
)
def test_a_broken_column_is_named(column: str, values: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        cohort(["p", "q"], [0, 1], **{column: values})


def test_unknown_values_stay_unknown() -> None:
    got = cohort(["p", "q"], [0, None], age_years=pd.array([None, 3.0], dtype="Float64"), sex=[None, "M"])
    assert got.frame["age_years"].isna().tolist() == [True, False]
    assert got.frame["label_pneumonia"].isna().tolist() == [False, True]


def test_selection_counts_images_and_patients_by_reason() -> None:
    # p: a child's film and an adult's; q: label unknown and too old; r: age unknown, stays
    ages = pd.array([17.9, 18.0, 50.0, 80.1, 80.0, None], dtype="Float64")
    selected, flow = select(
        cohort(["p", "p", "q", "q", "s", "r"], [0, 1, None, 1, 0, 1], age_years=ages), task="pneumonia"
    )
    assert selected.frame["image_id"].tolist() == ["i00001", "i00004", "i00005"]
    assert flow.start == FlowCount(6, 4)
    assert flow.steps == (
        FlowStep("pneumonia label unknown", 1, 0),
        FlowStep("age below 18 years", 1, 0),
        FlowStep("age above 80 years", 1, 1),
    )
    assert flow.final == FlowCount(3, 3)
    assert Flow.from_dict(flow.to_dict()) == flow


def test_a_flow_that_does_not_add_up_is_refused() -> None:
    with pytest.raises(ValueError, match="n_images do not add up"):
        Flow(FlowCount(5, 3), (FlowStep("x", 1, 0),), FlowCount(5, 3))


def test_nobody_left_is_an_error_with_the_reason() -> None:
    with pytest.raises(InputError, match=r"no image is left of 2 \(age below 50 years: 2\)"):
        select(cohort(["p", "q"], [0, 1]), task="pneumonia", age_min=50)


def test_an_unknown_task_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'pneumonia'"):
        select(cohort(["p"], [0]), task="pnuemonia")


def test_table1_by_hand() -> None:
    ages = pd.array([20.0, 30.0, 40.0, None], dtype="Float64")
    toy = cohort(["p", "p", "q", "r"], [0, 1, 1, 0], age_years=ages, sex=["F", "F", "M", "M"])
    got = table1(toy, task="pneumonia")
    assert got.columns.tolist() == ["no pneumonia", "pneumonia", "all"]
    assert got.loc["images"].tolist() == ["2", "2", "4"]
    assert got.loc["patients"].tolist() == ["2", "2", "3"]  # p counts in both classes
    assert got.loc["age, years: median (quartiles)"].tolist()[1:] == ["35 (32 to 38)", "30 (25 to 35)"]
    assert got.loc["sex: F"].tolist() == ["1 (50%)", "1 (50%)", "2 (50%)"]
    assert got.loc["age missing"].tolist() == ["1 (50%)", "0 (0%)", "1 (25%)"]


def test_patients_in_both_classes() -> None:
    got = cohort(["p", "p", "q", "q", "r"], [0, 1, 1, 1, None])
    assert got.patients_in_both_classes("pneumonia") == ("p",)


def test_images_that_take_no_part_in_the_task_are_counted_by_reason() -> None:
    reasons = pd.Series(["far from a lesion", None, None, "another source", "far from a lesion"], dtype="str")
    toy = cohort(["p", "p", "q", "r", "s"], [1, 1, 0, 0, None], exclusion_pneumonia=reasons)
    selected, flow = select(toy, task="pneumonia")
    assert selected.frame["image_id"].tolist() == ["i00001", "i00002"]
    assert [(step.reason, step.n_images) for step in flow.steps[:3]] == [
        ("another source", 1),
        ("far from a lesion", 2),
        ("pneumonia label unknown", 0),
    ]


def test_a_task_of_three_classes() -> None:
    binary = cohort(["p", "q", "r", "r"], [0, 1, 1, None]).frame
    frame = binary.assign(label_tumour=pd.array([0, 1, 2, None], dtype="Int64"))
    names = ("glioma", "meningioma", "pituitary")
    toy = Cohort(frame, "toy", ("tumour", "pneumonia"), {"tumour": names})
    assert toy.classes_of("tumour") == names
    assert toy.classes_of("pneumonia") == ("no pneumonia", "pneumonia")
    assert toy.keep((frame["label_tumour"] == 2).fillna(False)).classes_of("tumour") == names
    assert table1(toy, task="tumour").loc["images"].to_dict() == dict.fromkeys(names, "1") | {"all": "3"}
    with pytest.raises(InputError, match="label 2 of tumour is none of 0 to 1"):
        Cohort(frame, "toy", ("tumour",))
    for wrong in (("a",), ("a", "b", "a")):
        with pytest.raises(InputError, match="two or more different classes"):
            Cohort(frame, "toy", ("tumour",), {"tumour": wrong})
