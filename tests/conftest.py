"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# a busy machine makes any example slow; a hang is for the runner's own limit to end
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")

REPOSITORY = Path(__file__).resolve().parents[1]


def _shared(name: str) -> Path:
    folder = REPOSITORY.parent / "shared" / name
    if not folder.is_dir():
        pytest.skip(f"the developers' folder ../shared/{name} is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real images and reader data (developers and CI only)."""
    return _shared("data")


@pytest.fixture(scope="session")
def shared_oracles() -> Path:
    """Reference values of the statistics (developers and CI only)."""
    return _shared("oracles")


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty work folder, so that no test reads or writes the checkout's own."""
    folder = tmp_path / "work"
    monkeypatch.setenv("RADTRANSFER_WORK", str(folder))
    return folder
