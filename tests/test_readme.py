"""The first screen of the repository says what the study found, in numbers of the registry."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from radtransfer.report.numbers import Registry

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def tool():  # type: ignore[no-untyped-def]
    spec = importlib.util.spec_from_file_location("record_findings", ROOT / "tools" / "record_findings.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_findings_are_the_published_numbers(tool) -> None:  # type: ignore[no-untyped-def]
    _, found, _ = tool.between((ROOT / "README.md").read_text("utf-8"))
    assert found == tool.findings(Registry.load(ROOT / "results")), "run: python tools/record_findings.py"


def test_every_tested_claim_is_told(tool) -> None:  # type: ignore[no-untyped-def]
    registry = Registry.load(ROOT / "results")
    tested = {key.split(".")[1] for key in registry if key.endswith(".verdict")}
    assert tested == set(tool.CLAIMS)


def test_the_figure_is_a_published_one_and_has_words(tool) -> None:  # type: ignore[no-untyped-def]
    before, _, _ = tool.between((ROOT / "README.md").read_text("utf-8"))
    alt, _, rest = before.partition("![")[2].partition("](")
    assert len(alt) > 40
    assert (ROOT / rest.partition(")")[0]).is_file()
