"""What citation managers, Zenodo and the package say of the study is the same."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import yaml

from radtransfer import __version__

ROOT = Path(__file__).resolve().parents[1]


def test_zenodo_and_citation_say_the_same() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    zenodo = json.loads((ROOT / ".zenodo.json").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for name in ("title", "version", "license", "keywords"):
        assert zenodo[name] == citation[name]
    assert zenodo["upload_type"] == citation["type"]
    assert [creator["name"] for creator in zenodo["creators"]] == [
        author["name"] for author in citation["authors"]
    ]
    assert citation["version"] == project["version"] == __version__
    assert citation["license"] == project["license"]
