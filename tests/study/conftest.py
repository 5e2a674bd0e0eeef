"""Fixtures of the driver's tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_project import Project, make_project

from radtransfer.study import profiles


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Project with one notebook and the profile ``small``; this process works in it, too."""
    monkeypatch.setenv("RADTRANSFER_ROOT", str(tmp_path))
    monkeypatch.setenv("RADTRANSFER_WORK", str(tmp_path / "work"))
    return make_project(tmp_path)


@pytest.fixture
def curation() -> profiles.Notebook:
    """The first notebook of the study."""
    return profiles.NOTEBOOKS["01_data_curation"]
