"""The case runner: all reference cases pass, and a wrong answer fails."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_cases import Refusal, agrees, run_case

RUNNER = Path(__file__).with_name("run_cases.py")


@pytest.mark.shared
def test_every_reference_case_passes(shared_oracles: Path) -> None:
    path = shared_oracles / "cases.json"
    done = subprocess.run(
        [sys.executable, str(RUNNER), str(path)], capture_output=True, text=True, check=False
    )
    lines = done.stdout.splitlines()
    assert lines[-1] == f"{len(json.loads(path.read_text()))} passed, 0 failed", done.stdout[-3000:]
    assert done.returncode == 0


def test_a_failing_case_gives_exit_status_one(tmp_path: Path) -> None:
    case = {"id": "wrong", "function": "brier", "input": {"y": [1, 0], "p": [0.9, 0.2]}, "tolerance": 1e-9}
    path = tmp_path / "cases.json"
    path.write_text(json.dumps([case | {"expected": {"brier": 0.3}}, case | {"expected": {"brier": 0.025}}]))
    done = subprocess.run(
        [sys.executable, str(RUNNER), str(path)], capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-1] == "1 passed, 1 failed"
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("expected", "passes"),
    [
        ({"brier": 0.025}, True),
        ({"brier": 0.025 + 2e-9}, False),
        ({"brier": None}, False),
        ({"brier": "NaN"}, False),
        ({"error": "ValueError"}, False),
        ({"brier": 0.025, "something_else": 1.0}, False),
        ({"brier": 0.025, "reason": "prose"}, True),
    ],
)
def test_what_a_case_demands(expected: dict[str, Any], passes: bool) -> None:
    case = {"function": "brier", "input": {"y": [1, 0], "p": [0.9, 0.2]}, "expected": expected}
    assert run_case(case, Path())[0] is passes


def test_an_error_is_a_value_error_with_a_message_and_not_a_crash() -> None:
    case: dict[str, Any] = {
        "function": "brier",
        "input": {"y": [1, 0], "p": [0.9, 2]},
        "expected": {"error": "x"},
    }
    assert run_case(case, Path())[0]
    assert not run_case(case | {"input": {}}, Path())[0]  # a KeyError is no refusal
    assert not run_case(case | {"function": "unknown"}, Path())[0]


def test_comparison() -> None:
    assert agrees(np.array([1.0, 2.0]), [1, 2], 0)
    assert not agrees([1.0], [1, 2], 0)
    assert agrees(math.nan, "NaN", 0)
    assert agrees(Refusal("undefined"), None, 0)
    assert not agrees(Refusal("undefined"), 1.0, 9)
    assert agrees({"a": 1, "b": 2}, {"a": 1}, 0)
    assert not agrees({"b": 2}, {"a": 1}, 0)
