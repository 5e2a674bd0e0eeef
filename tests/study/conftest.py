"""Fixtures of the driver's tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from small_project import MANIFEST, Project

from radtransfer.study import profiles


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Project with one notebook and the profile ``small``; this process works in it, too."""
    monkeypatch.setenv("RADTRANSFER_ROOT", str(tmp_path))
    monkeypatch.setenv("RADTRANSFER_WORK", str(tmp_path / "work"))
    (tmp_path / "data_manifest.yaml").write_text(yaml.safe_dump(MANIFEST), encoding="utf-8")
    (tmp_path / "requirements.lock").write_text("rich==1 \\\n    --hash=sha256:00\n", encoding="utf-8")
    small = Project(tmp_path)
    small.write_profile()
    small.write_notebook()
    return small


@pytest.fixture
def curation() -> profiles.Notebook:
    """The first notebook of the study."""
    return profiles.NOTEBOOKS["01_data_curation"]
