"""Notebooks and book together, and the time each took."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from rich.console import Console
from small_project import PARAMETERS, Project

from radtransfer.errors import DataError, StepError
from radtransfer.study import bookbuild, driver, whole
from radtransfer.study.driver import StepEntry, StepResult, StudyLog
from radtransfer.study.profiles import load_profile
from radtransfer.study.progress import Reporter


@pytest.fixture
def built(project: Project, monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """Profiles whose book was asked for; none is rendered here."""
    asked: list[str | None] = []

    def build_book(profile: str | None = None) -> Path:
        asked.append(profile)
        return project.root / "work" / "book" / "html"

    monkeypatch.setattr(bookbuild, "build_book", build_book)
    return asked


def complete(project: Project, *names: str) -> StudyLog:
    """Log in which these steps are complete."""
    project.write_profile(notebooks={name: PARAMETERS[name] for name in PARAMETERS})
    log = StudyLog(profile="small", publishable=False)
    for name in PARAMETERS:
        project.write_notebook(name)
        if name in names:
            parts = driver.step_state(load_profile("small"), name, log).parts
            log.steps[name] = StepEntry(
                key=parts.key, parts=parts, outputs={}, stores=(), seconds=3.2, finished="2026-01-01"
            )
            log.seconds[name] = 3.2
    log.write()
    return log


def test_a_book_of_an_incomplete_run_is_refused(project: Project, built: list[str | None]) -> None:
    complete(project, "01_data_curation", "03_transfer_learning")
    with pytest.raises(StepError, match="02_traditional_baselines of profile 'small' has not been run since"):
        whole.build("small")
    assert built == []


def test_a_book_of_two_runs_is_refused(project: Project, built: list[str | None]) -> None:
    log = complete(project, *PARAMETERS)
    assert whole.build("small").name == "html"
    log.steps["01_data_curation"] = log.steps["01_data_curation"].model_copy(update={"key": "another"})
    log.write()
    with pytest.raises(StepError, match="02_traditional_baselines of profile 'small' has not been run since"):
        whole.build("small")
    assert built == ["small"]


def test_a_book_of_altered_results_is_refused(project: Project, built: list[str | None]) -> None:
    assert whole.build(None).name == "html"
    (project.root / "results").mkdir()
    (project.root / "results" / "SHA256SUMS").write_text("0" * 64 + "  numbers.json\n")
    with pytest.raises(DataError, match=r"numbers\.json is missing"):
        whole.build(None)
    assert built == [None]


def test_the_table_says_how_long_each_step_took(
    project: Project, built: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = [StepResult("01_data_curation", "", 0.0), StepResult("02_traditional_baselines", "first run", 75.0)]
    monkeypatch.setattr(whole, "run_study", lambda *_, **__: ran)
    stamp = project.root / ".venv" / "radtransfer-install.json"
    stamp.parent.mkdir()
    monkeypatch.setattr(sys, "prefix", str(stamp.parent))
    stamp.write_text(json.dumps({"seconds": 57.0, "made_of": {}}))
    reporter = Reporter(Console(record=True, file=io.StringIO(), width=100))
    whole.run_and_build("small", reporter=reporter)
    told = [" ".join(line.split()) for line in reporter.console.export_text().splitlines()]
    assert "environment 57.0 s when .venv was made" in told
    assert "01_data_curation - nothing changed" in told
    assert "02_traditional_baselines 1 min 15 s first run" in told
    assert told[-1] == f"book: {project.root / 'work' / 'book' / 'html'}"
