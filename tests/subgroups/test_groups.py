from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from invented import patients

from radtransfer.data.formats.nih_pneumonia import read_cohort
from radtransfer.subgroups.groups import attribute_label, attributes_of, banded, cells_of, id_matched


def test_bands_begin_at_their_edges() -> None:
    ages = pd.Series([18, 39, 40, 59, 60, 80, None], dtype="Float64")
    assert banded(ages, [40, 60]).astype(object).fillna("?").tolist() == [
        *["under 40"] * 2,
        *["40 to 59"] * 2,
        *["60 and over"] * 2,
        "?",
    ]
    assert banded(pd.Series([0, 1, 5, 6]), [1, 6], least=0).tolist() == [
        "0",
        "1 to 5",
        "1 to 5",
        "6 and over",
    ]
    assert banded(pd.Series([0, 2, 3]), [3], least=0).tolist() == ["0 to 2", "0 to 2", "3 and over"]


def test_groups_and_their_pairs() -> None:
    frame = pd.DataFrame(
        {
            "image_id": list("abcd"),
            "sex": ["F", "M", None, "F"],
            "age_years": pd.array([30, 50, 70, None], dtype="Float64"),
            "view": "PA",  # one view makes no groups
        }
    )
    groups = attributes_of(frame, age_edges=[40, 60], follow_up_edges=[1])
    assert list(groups) == ["sex", "age", "sex-age"]
    assert groups["sex-age"].astype(object).fillna("?").tolist() == [
        "Female, under 40",
        "Male, 40 to 59",
        "?",
        "?",
    ]
    assert list(groups["sex-age"].cat.categories[:2]) == ["Female, under 40", "Female, 40 to 59"]
    assert attribute_label("sex-follow_up") == "Sex × follow-up"


def test_a_cell_needs_patients_of_both_classes() -> None:
    # six images of one sick woman are one patient
    table = pd.DataFrame(
        {
            "image_id": [f"i{k}" for k in range(12)],
            "patient_id": ["sick"] * 6 + ["f1", "f2", "m1", "m2", "m3", "m4"],
            "label": [1] * 6 + [0, 0, 1, 1, 0, 0],
        }
    )
    sex = pd.Categorical(["F"] * 8 + ["M"] * 4, categories=["F", "M", "X"], ordered=True)
    groups = pd.DataFrame({"sex": sex}, index=table["image_id"])
    women, men = cells_of(table, groups, "sex", minimum=2)
    assert women.n == {
        "images": 8,
        "patients": 3,
        "positive": 6,
        "negative": 2,
        "positive patients": 1,
        "negative patients": 2,
    }
    assert (women.shown, men.shown) == (False, True)
    assert [cell.shown for cell in cells_of(table, groups, "sex", minimum=3)] == [False, False]
    assert women.rows.sum() + men.rows.sum() == 12


def test_ids_are_matched_in_the_shared_range() -> None:
    frame = pd.DataFrame(
        {
            "image_id": list("abcdef"),
            "patient_id": ["0001", "0005", "0009", "0004", "0006", "0007"],
            "label_t": [1, 1, 1, 0, 0, 0],
        }
    )
    matched = id_matched(frame, label="label_t")
    assert matched is not None
    assert matched[matched].index.tolist() == ["b", "d", "e", "f"]
    assert id_matched(frame.assign(patient_id="p" + frame["patient_id"]), label="label_t") is None
    apart = frame.assign(patient_id=["1", "2", "3", "7", "8", "9"])
    assert id_matched(apart, label="label_t") is None


@pytest.mark.shared
def test_ids_of_the_published_set(shared_data: Path) -> None:
    # counted by those who prepared the set
    frame = read_cohort(shared_data / "nih_pneumonia_1000").frame
    matched = id_matched(frame, label="label_pneumonia")
    assert matched is not None
    assert matched.sum() == 610
    positive = frame.set_index("image_id")["label_pneumonia"] == 1
    assert (matched & positive).sum() == 110


def test_every_image_is_in_one_cell_of_each_attribute() -> None:
    frame = patients(60)
    groups = attributes_of(frame, age_edges=[40, 60], follow_up_edges=[1])
    table = frame.rename(columns={"label_pneumonia": "label"})
    for attribute in groups:
        rows = np.stack([cell.rows for cell in cells_of(table, groups, str(attribute), minimum=1)])
        assert (rows.sum(axis=0) == 1).all()
