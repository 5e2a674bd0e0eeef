"""Memory that is free within this process, and not yet to others."""

from __future__ import annotations

import ctypes
import gc
from typing import Final

import pyarrow as pa

FEW: Final = 1000
"""Rows up to which nothing is done: finding what is free takes long where much else is in memory."""


def return_freed_memory(n_rows: int) -> None:
    """Give freed memory back to the system.

    Allocators keep what was freed for what may come. A table of 100,000 rows is read with many times the
    memory that is needed afterwards, and stands beside the processes that decode images for hours.

    Parameters
    ----------
    n_rows : int
        Of the table that was worked on.
    """
    if n_rows <= FEW:
        return
    gc.collect()
    pa.default_memory_pool().release_unused()
    # of the C library of Linux; others have no such function, or need none
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)
