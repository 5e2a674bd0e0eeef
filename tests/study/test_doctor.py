"""The doctor says what is lacking and what to do, and asks the network for next to nothing."""

from __future__ import annotations

import time
from collections import namedtuple
from pathlib import Path

import pytest
from small_project import Project

from radtransfer.study import doctor, machine
from radtransfer.study.doctor import examine

Usage = namedtuple("Usage", "total used free")


def findings() -> dict[str, tuple[str, str]]:
    """State and text by subject."""
    return {finding.subject: (finding.state, finding.text) for finding in examine()}


def test_one_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADTRANSFER_OFFLINE", "1")
    found = findings()
    assert list(found) == [
        "Python",
        "processor",
        "memory",
        "disk",
        "GPU",
        "packages",
        "mirror",
        "data",
        "weights",
    ]
    assert found["packages"] == ("ok", "as requirements.lock has them")
    assert found["processor"][1].startswith(f"{machine.cores()} cores, ")


def test_what_is_lacking_is_said(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADTRANSFER_OFFLINE", "1")
    monkeypatch.setenv("RADTRANSFER_MIRROR", str(project.root / "nowhere"))
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: Usage(10, 9, 2**30))
    found = findings()
    assert found["disk"][0] == "lacking"
    assert "1.0 GiB free" in found["disk"][1]
    assert found["mirror"] == ("lacking", f"RADTRANSFER_MIRROR={project.root}/nowhere is not a folder")
    assert found["packages"][0] == "note"
    assert "first rich" in found["packages"][1]
    assert "instead of 1" in found["packages"][1]
    assert found["weights"][0] == "note"


def test_data_that_were_fetched_are_listed(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADTRANSFER_OFFLINE", "1")
    manifest = project.root / "data_manifest.yaml"
    entry = (
        "files: [{path: a.png, bytes: 1, sha256: " + "a" * 64 + "}]\n    sources: [{kind: mirror, folder: a}]"
    )
    manifest.write_text(manifest.read_text().replace("sources:\n    - kind: generated", entry))
    (project.root / "work" / "raw" / "phantom_ct").mkdir(parents=True)
    assert findings()["data"][1] == "fetched: phantom_ct; fetched when needed: phantom_xray, readers"


def test_a_host_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PROBE_S", 0.5)
    start = time.monotonic()
    # TEST-NET-1 (RFC 5737) belongs to nobody; a proxy that answers for it does so with an error
    assert not doctor._answers("https://192.0.2.1/")
    assert time.monotonic() - start < 5


def test_the_environment_names_no_place(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text(
        "rich==15.0.0 \\\n    --hash=sha256:00\n"
        'nothing==1.0 ; python_full_version < "3.0" \\\n    --hash=sha256:00\n'
    )
    assert machine.locked_versions(lock) == {"rich": "15.0.0"}
    recorded = machine.environment()
    assert recorded["packages"]["numpy"] == machine.installed_version("numpy")
    assert str(Path.home()) not in str(recorded)
