"""The reader study's page: recorded under the same keys, whatever is shown."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from radtransfer import paths
from radtransfer.readers.assistance import demonstrate
from radtransfer.readers.comparison import compare
from radtransfer.readers.phantoms import AssistanceSpec, PanelSpec, reader_panel
from radtransfer.report import readers as page
from radtransfer.report.step import Step


@pytest.fixture(scope="module")
def step(tmp_path_factory: pytest.TempPathFactory) -> Step:
    step = Step("09_reader_study", study_dir=tmp_path_factory.mktemp("study"))
    comparison = compare(reader_panel(PanelSpec(n_cases=200, seed=2)), n_resamples=100, seed=0)
    demonstration = demonstrate(AssistanceSpec(n_cases=40, n_readers=4, seed=2))
    for show in (
        page.dependence,
        page.curves,
        page.below_table,
        page.auc_table,
        page.differences,
        page.tests,
        page.kappa,
        page.panel_agreement,
        page.leave_one_out,
        page.discrepancies,
        page.rules,
        page.rule_gains,
    ):
        assert show(step, comparison)._repr_html_()
    page.assistance(step, demonstration)
    page.record(step, comparison, demonstration)
    return step


def test_the_chapter_refers_to_recorded_numbers_only(step: Step) -> None:
    notebook = json.loads((paths.notebooks_dir() / "09_reader_study.ipynb").read_text())
    prose = "".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    keys = set(re.findall(r"\{num\}`([^`|]+)", prose))
    assert len(keys) > 20
    assert not {key for key in keys if key not in step.registry()}


def test_no_row_of_the_readings_is_published(step: Step) -> None:
    saved = Path(step.save()).parents[1]
    for path in (*saved.glob("figures/*.csv"), *saved.glob("tables/*.csv")):
        assert "case0" not in path.read_text()


def test_a_figure_tells_what_it_shows(step: Step) -> None:
    step.save()
    alt = json.loads((step.study_dir / "figures" / "readers_roc.json").read_text())["alt"]
    below = step.registry().get("readers.below.count").value
    assert sum(int(count) for count in re.findall(r": (\d+) of", alt)) == below
