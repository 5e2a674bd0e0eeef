"""Arithmetic that a backbone computes in."""

from __future__ import annotations

from typing import Literal

Precision = Literal["float32", "mixed_bfloat16"]
"""Arithmetic of a backbone's layers, as Keras names it."""
