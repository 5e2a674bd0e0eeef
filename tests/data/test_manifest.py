from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from radtransfer.data.manifest import ChecksumList, FileEntry, Manifest, load_manifest
from radtransfer.errors import DataError, InputError

ENTRY = {
    "title": "A",
    "modality": "xray",
    "licence": "CC0-1.0",
    "citation": "B",
    "access": "open",
    "patient_id_field": "p",
    "native_size": [8, 8],
    "format": "phantom",
    "tasks": ["pneumonia"],
    "files": [{"path": "a.png", "bytes": 3, "sha256": "0" * 64}],
    "sources": [{"kind": "mirror", "folder": "a"}],
}


def load(tmp_path: Path, **changes: object) -> Manifest:
    path = tmp_path / "manifest.yaml"
    path.write_text(yaml.safe_dump({"version": 1, "datasets": {"a": ENTRY | changes}}))
    return load_manifest(path)


def test_the_projects_manifest_is_valid_and_lists_every_file() -> None:
    entry = load_manifest().dataset("nih_pneumonia_1000")
    reduced, originals = entry.file_lists()
    assert len(reduced) == len(originals) == 1001
    images = {file.path for file in reduced if file.path.endswith(".png")}
    assert len(images) == 1000
    assert images == {file.path for file in originals if file.path.endswith(".png")}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"licens": "x"}, "did you mean 'licence'"),
        ({"licence": ""}, "licence"),
        ({"files": [{"path": "../a", "bytes": 3, "sha256": "0" * 64}]}, "relative path"),
        ({"files": [{"path": "/a", "bytes": 3, "sha256": "0" * 64}]}, "relative path"),
        ({"files": [{"path": ".", "bytes": 3, "sha256": "0" * 64}]}, "relative path"),
        ({"files": [{"path": "a", "bytes": 3, "sha256": "0" * 63}]}, "sha256"),
        ({"files": [{"path": "a", "bytes": -1, "sha256": "0" * 64}]}, "bytes"),
        ({"files": []}, "no files are listed for the source 'mirror a'"),
        ({"sources": [{"kind": "ftp"}]}, "kind"),
        ({"sources": [{"kind": "generated"}]}, "source .generated. has neither files"),
    ],
)
def test_a_wrong_entry_is_refused_with_its_place(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load(tmp_path, **changes)


def test_no_yaml_and_no_manifest(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("a: [")
    with pytest.raises(InputError, match="is no YAML"):
        load_manifest(tmp_path / "m.yaml")
    with pytest.raises(InputError, match="there is no manifest"):
        load_manifest(tmp_path / "absent.yaml")


def test_an_altered_checksum_list_is_refused() -> None:
    listed = ChecksumList(path="chestxray14_sample.tsv", bytes=1607, sha256="0" * 64)
    with pytest.raises(DataError, match=r"chestxray14_sample\.tsv is not the manifest's"):
        listed.entries()


def test_an_entry_cannot_be_changed() -> None:
    file = FileEntry(path="a", bytes=1, sha256="0" * 64)
    with pytest.raises(ValueError, match="frozen"):
        file.bytes = 2  # type: ignore[misc]
