"""The crate of the release names what is there, with the checksums that it has."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from rocrate.rocrate import ROCrate

from radtransfer.data.manifest import load_manifest
from radtransfer.hashing import sha256_file

ROOT = Path(__file__).resolve().parents[1]


def crate() -> dict[str, Any]:
    spec = importlib.util.spec_from_file_location("record_crate", ROOT / "tools" / "record_crate.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    made: dict[str, Any] = tool.crate("2026-02-03")
    return made


@pytest.fixture(scope="module")
def entities() -> dict[str, dict[str, Any]]:
    return {entity["@id"]: entity for entity in crate()["@graph"]}


def test_the_root_says_what_it_is(entities: dict[str, dict[str, Any]]) -> None:
    root, citation = entities["./"], yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert root["name"] == citation["title"]
    assert root["datePublished"] == "2026-02-03"
    assert entities[root["license"]["@id"]]["name"] == "MIT License"
    assert [entities[author["@id"]]["name"] for author in root["author"]] == [
        author["name"] for author in citation["authors"]
    ]
    open_data = {name for name, data in load_manifest().datasets.items() if data.access != "generated"}
    assert {mentioned["@id"].removeprefix("#dataset-") for mentioned in root["mentions"]} == open_data


def test_each_part_is_there_with_its_checksum(entities: dict[str, dict[str, Any]]) -> None:
    parts = [part["@id"] for part in entities["./"]["hasPart"]]
    published = {f"results/{path.relative_to(ROOT / 'results')}" for path in (ROOT / "results").rglob("*.*")}
    assert published <= set(parts)
    for name in parts:
        assert entities[name]["sha256"] == sha256_file(ROOT / name)
        assert entities[name]["contentSize"] == str((ROOT / name).stat().st_size)
        assert entities[entities[name]["license"]["@id"]]["@type"] == "CreativeWork"


def test_others_can_read_it(tmp_path: Path) -> None:
    (tmp_path / "ro-crate-metadata.json").write_text(json.dumps(crate()))
    read = ROCrate(tmp_path)
    assert read.root_dataset["license"]["name"] == "MIT License"
    assert read.dereference("results/numbers.json")["encodingFormat"] == "application/json"
