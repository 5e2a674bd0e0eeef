"""Every assumption has a source, every source is in the bibliography and on the page."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from radtransfer.errors import InputError
from radtransfer.utility.assumptions import load_assumptions

REPOSITORY = Path(__file__).resolve().parents[2]
OURS = "Assumption of this study"


def test_every_value_is_cited_or_said_to_be_assumed() -> None:
    for name, found in load_assumptions().items():
        assert found.cite or found.source.startswith(OURS), name


def test_sources_are_in_the_bibliography_and_on_the_page() -> None:
    known = set(re.findall(r"^@\w+\{(\w+),", (REPOSITORY / "book/references.bib").read_text(), re.M))
    notebook = json.loads((REPOSITORY / "notebooks/12_clinical_utility.ipynb").read_text())
    prose = "\n".join("".join(cell["source"]) for cell in notebook["cells"])
    cited = {key for keys in re.findall(r"\{cite:p\}`([^`]+)`", prose) for key in keys.split(",")}
    wanted = {found.cite for found in load_assumptions().values() if found.cite}
    assert wanted <= known
    assert wanted <= cited
    assert cited <= known


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: {what: x, value: 2, low: 3, high: 4, source: y}", "a: .*not in order"),
        ("a: {what: x, value: 2, low: 1, high: 4}", "a: source: Field required"),
        ("a: {what: x, value: 2, low: 1, high: 4, source: y, sure: true}", "a: sure"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "assumptions.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        load_assumptions(path)
