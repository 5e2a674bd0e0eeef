from __future__ import annotations

import pytest

from radtransfer.readers.comparison import Comparison, compare
from radtransfer.readers.phantoms import PanelSpec, reader_panel


@pytest.fixture(scope="session")
def phantom() -> Comparison:
    """A small panel whose algorithms are better than its readers."""
    return compare(reader_panel(PanelSpec(n_cases=300, seed=5)), n_resamples=200, seed=1)
