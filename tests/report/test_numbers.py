"""Numbers print as a journal prints them, and the registry refuses what a reader could not trust."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from radtransfer.errors import DataError, InputError
from radtransfer.report.numbers import (
    KEY_PATTERN,
    Number,
    Registry,
    Tolerance,
    format_interval,
    format_number,
    load_records,
)


def number(
    key: str = "cv.pneumonia.vgg16_frozen.auc", value: int | float | str = 0.92081, **fields: object
) -> Number:
    return Number.model_validate({"key": key, "value": value, "notebook": "04_evaluation", **fields})


@pytest.mark.parametrize(
    ("value", "options", "text"),
    [
        (0.92081, {}, "0.921"),
        (-0.0312, {}, "−0.031"),
        (-0.0001, {}, "0.000"),
        (1000, {}, "1,000"),
        (-12345, {}, "−12,345"),
        (999, {}, "999"),
        (1234.567, {"digits": 1, "unit": "s"}, "1,234.6 s"),
        (0.0004, {"unit": "p"}, "< 0.001"),
        (0.001, {"unit": "p"}, "0.001"),
        (0.0416, {"unit": "p"}, "0.042"),
        (0, {"unit": "p"}, "< 0.001"),
        ("vgg16-frozen", {}, "vgg16-frozen"),
        (1e-9, {}, "0.000"),
    ],
)
def test_format(value: float | str, options: dict[str, object], text: str) -> None:
    assert format_number(value, **options) == text  # type: ignore[arg-type]


@settings(deadline=None)
@given(st.floats(-1e6, 1e6), st.integers(0, 6))
def test_printed_number_reads_back_within_half_a_unit_of_its_last_digit(value: float, digits: int) -> None:
    text = format_number(value, digits=digits)
    assert re.fullmatch(r"−?\d{1,3}(,\d{3})*(\.\d+)?", text)
    assert abs(float(text.replace("−", "-").replace(",", "")) - value) <= 0.5 * 10**-digits * (1 + 1e-9)


def test_intervals() -> None:
    assert format_interval(0.92081, 0.9, 0.94, digits=2) == "0.92 (95 % CI 0.90 to 0.94)"
    assert format_interval(-0.01, -0.02, 0.001, level=0.9) == "−0.010 (90 % CI −0.020 to 0.001)"
    assert format_interval(0.9, 0.88, None) == "0.900 (95 % CI above 0.880)"
    assert format_interval(0.9, None, 0.91, level=0.975) == "0.900 (97.5 % CI below 0.910)"
    assert format_interval(7, None, None) == "7"


def test_forms() -> None:
    auc = number(low=0.9, high=0.94, level=0.95, p_value=0.0123, n={"patients": 682, "images": 1000})
    assert auc.show() == "0.921"
    assert auc.show("interval") == "0.921 (95 % CI 0.900 to 0.940)"
    assert auc.cell_text == "0.921 (0.900 to 0.940)"
    assert auc.show("p") == "p = 0.012"
    assert number(p_value=1e-5).show("p") == "p < 0.001"
    assert auc.show("percent") == "92.1 %"
    assert auc.show("n") == "682 patients, 1,000 images"
    assert auc.show("n.images") == "1,000"


@pytest.mark.parametrize("form", ["median", "n.readers", "p", "value.x", ""])
def test_form_that_the_number_does_not_have(form: str) -> None:
    with pytest.raises(InputError, match=r"it offers: value, interval, percent, n, n\.images"):
        number(n={"images": 10}).show(form)


@pytest.mark.parametrize("key", ["auc", "CV.auc", "cv..auc", "cv.auc.", "cv.a uc", "cv.auc\n", ".cv.auc"])
def test_malformed_key(key: str) -> None:
    with pytest.raises(ValidationError):
        number(key)
    assert not re.fullmatch(KEY_PATTERN, key)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, None])
def test_value_that_is_no_number(value: object) -> None:
    with pytest.raises(ValidationError):
        number(value=value)  # type: ignore[arg-type]


def test_tolerance_is_consistent() -> None:
    assert Tolerance(kind="absolute", value=0.01, basis="seed_sd").value == 0.01
    for fields in ({"kind": "exact", "value": 0.1}, {"kind": "absolute"}, {"kind": "absolute", "value": -1}):
        with pytest.raises(ValidationError):
            Tolerance.model_validate(fields)


def test_registry_survives_its_file(tmp_path: Path) -> None:
    registry = Registry.collect([number(), number("cohort.n_images", 1000), number("best.name", "vgg16")])
    registry.write(tmp_path / "numbers.json")
    loaded = Registry.load(tmp_path)
    assert loaded.numbers == registry.numbers
    assert isinstance(loaded.get("cohort.n_images").value, int)
    assert len(loaded) == 3
    assert "best.name" in loaded
    assert next(iter(json.loads((tmp_path / "numbers.json").read_text())["numbers"][0])) == "key"


def test_unknown_key_names_the_nearest() -> None:
    with pytest.raises(InputError, match=r"did you mean 'cv\.pneumonia\.vgg16_frozen\.auc'"):
        Registry.collect([number()]).get("cv.pneumonia.vgg16_frozn.auc")
    with pytest.raises(InputError, match="no recorded key is similar"):
        Registry.collect([number()]).get("zzz.qqq")


def test_same_key_with_two_values() -> None:
    again = number(value=0.92081)
    assert len(Registry.collect([number(), again])) == 1
    with pytest.raises(DataError, match=r"0\.921 in 04_evaluation but 0\.930 in 04_evaluation"):
        Registry.collect([number(), number(value=0.93)])


def record(folder: Path, notebook: str, **fields: object) -> None:
    path = folder / "records" / f"{notebook}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"notebook": notebook, "profile": "tiny", **fields}))


def test_records_merge(tmp_path: Path) -> None:
    record(tmp_path, "01_a", numbers=[number("a.n", 3).model_dump(mode="json")], figures=["flow"])
    record(tmp_path, "02_b", numbers=[number("b.n", 4).model_dump(mode="json")])
    assert list(Registry.load(tmp_path)) == ["a.n", "b.n"]


@pytest.mark.parametrize("kind", ["figure", "table"])
def test_two_notebooks_may_not_record_the_same_file(tmp_path: Path, kind: str) -> None:
    record(tmp_path, "01_a", **{f"{kind}s": ["flow"]})
    record(tmp_path, "02_b", **{f"{kind}s": ["flow"]})
    with pytest.raises(DataError, match=f"01_a and 02_b both recorded a {kind} 'flow'"):
        load_records(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("records/01_a.json", "{", "cannot be read"),
        ("records/01_a.json", '{"notebook": "01_a", "profile": "tiny", "typo": 1}', "typo"),
        ("numbers.json", '{"numbers": [{"key": "a.n"}]}', "value"),
        ("numbers.json", "[]", "not a numbers registry"),
        ("readme.txt", "", "make study"),
    ],
)
def test_damaged_registry(tmp_path: Path, name: str, content: str, message: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        Registry.load(tmp_path)
