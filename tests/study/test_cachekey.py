"""A key changes with everything a result depends on, and the change is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_project import PARAMETERS, Project

from radtransfer.study import cachekey
from radtransfer.study.cachekey import KeyParts, code_digest, key_parts, src_digests
from radtransfer.study.profiles import NOTEBOOKS, Notebook, check_parameters

BEFORE = KeyParts(
    notebook="a",
    parameters={"EPOCHS": 2, "NETWORKS": ["x"]},
    src={"data/store.py": "1", "report/step.py": "1"},
    data={"nih": "1"},
    lock="l",
    python="3.11.7",
    previous={"01_data_curation": "k"},
)

CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"notebook": "b"}, "notebook changed"),
    ({"parameters": {"EPOCHS": 3, "NETWORKS": ["x"]}}, "parameters changed: EPOCHS 2 -> 3"),
    ({"parameters": {"EPOCHS": 2}}, 'parameters changed: NETWORKS ["x"] -> null'),
    ({"src": {"data/store.py": "2", "report/step.py": "1"}}, "src changed: data/store.py"),
    ({"src": {"data/store.py": "1"}}, "src changed: report/step.py"),
    ({"src": {f"{i}.py": "1" for i in range(4)}}, "src changed: 0.py, 1.py, 2.py and 3 more"),
    ({"data": {"nih": "2"}}, "data changed: nih"),
    ({"lock": "m"}, "requirements.lock changed"),
    ({"python": "3.12.1"}, "Python changed: 3.11.7 -> 3.12.1"),
    ({"previous": {"01_data_curation": "j"}}, "built on 01_data_curation, which ran again"),
    ({"notebook": "b", "lock": "m"}, "notebook changed; requirements.lock changed"),
]


@pytest.mark.parametrize(("change", "said"), CHANGES)
def test_each_change_gives_another_key_and_is_named(change: dict[str, Any], said: str) -> None:
    after = BEFORE.model_copy(update=change)
    assert after.key != BEFORE.key
    assert after.changes_since(BEFORE) == said


def test_nothing_changed() -> None:
    same = KeyParts.model_validate_json(BEFORE.model_dump_json())
    assert same.key == BEFORE.key
    assert same.changes_since(BEFORE) == ""


def test_every_part_is_in_the_key() -> None:
    assert {name for change, _ in CHANGES for name in change} == set(KeyParts.model_fields)


def test_of_a_notebook_only_its_code_counts(project: Project, curation: Notebook) -> None:
    code = code_digest(curation.path)
    project.write_notebook(prose="# Other prose")
    content = json.loads(curation.path.read_text())
    content["cells"][1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "hello"}]
    content["cells"][1]["source"] = content["cells"][1]["source"].splitlines(keepends=True)
    curation.path.write_text(json.dumps(content))
    assert code_digest(curation.path) == code
    project.write_notebook("01_data_curation", "print('other code')")
    assert code_digest(curation.path) != code


def test_of_the_package_all_counts_that_a_notebook_can_import(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("data/store.py", "data/checksums/nih.tsv", "study/driver.py", "cli.py", "__main__.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    for name in ("data/__pycache__/store.cpython-311.pyc", ".hidden"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(cachekey, "PACKAGE", tmp_path)
    assert list(src_digests()) == ["data/checksums/nih.tsv", "data/store.py"]


def test_the_key_follows_lock_manifest_and_further_files(project: Project, curation: Notebook) -> None:
    parameters = check_parameters(curation, PARAMETERS[curation.name])
    before = key_parts(curation, parameters, {})
    (project.root / "requirements.lock").write_text("rich==2\n")
    manifest = project.root / "data_manifest.yaml"
    manifest.write_text(manifest.read_text().replace("CC0-1.0", "CC-BY-4.0"))
    assert (
        key_parts(curation, parameters, {}).changes_since(before)
        == "data changed: phantom_xray; requirements.lock changed"
    )

    claims = NOTEBOOKS["13_claims"]
    project.write_notebook(claims.name)
    nothing = check_parameters(claims, {})
    before = key_parts(claims, nothing, {})
    (project.root / "book").mkdir()
    (project.root / "book" / "claims.yaml").write_text("C1: yes\n")
    assert key_parts(claims, nothing, {}).changes_since(before) == "data changed: book/claims.yaml"


def test_where_data_come_from_does_not_matter(project: Project, curation: Notebook) -> None:
    parameters = check_parameters(curation, PARAMETERS[curation.name])
    manifest = project.root / "data_manifest.yaml"
    files = "files: [{path: a.png, bytes: 1, sha256: " + "a" * 64 + "}]"
    sources = "sources: [{kind: mirror, folder: a}]"
    text = manifest.read_text().replace("sources:\n    - kind: generated", f"{files}\n    {sources}")
    assert text != manifest.read_text()
    manifest.write_text(text)
    before = key_parts(curation, parameters, {})
    manifest.write_text(text.replace("folder: a", "folder: b"))
    assert key_parts(curation, parameters, {}).key == before.key
    manifest.write_text(text.replace("a" * 64, "b" * 64))
    assert key_parts(curation, parameters, {}).key != before.key
