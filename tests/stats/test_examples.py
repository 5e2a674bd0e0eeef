"""The examples in the docstrings print what they say."""

from __future__ import annotations

import doctest
import importlib

import pytest

MODULES = ["auc", "bootstrap", "proportions", "paired", "permutation", "disparity", "multiplicity"]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"radtransfer.stats.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
