"""The store that machines without a common disk share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from radtransfer.errors import InputError, RadtransferError, RunError
from radtransfer.training.runs import RunSpec, RunStore, predictions_frame
from radtransfer.training.shared import CHECKSUMS, STORE, SharedStore, shared_store


@pytest.fixture(params=["a disk", "an object store"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    fsspec = pytest.importorskip("fsspec", reason="fsspec is part of the extra ray")
    if request.param == "a disk":
        yield str(tmp_path / "shared")
    else:
        yield "memory://study"
        fsspec.filesystem("memory").store.clear()


@pytest.fixture
def store(path: str, monkeypatch: pytest.MonkeyPatch) -> SharedStore:
    monkeypatch.setenv(STORE, path)
    found = shared_store()
    assert found is not None
    return found


def folder(root: Path, **files: str) -> Path:
    root.mkdir()
    for name, text in files.items():
        (root / name).write_text(text)
    return root


def content(root: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in root.iterdir() if file.name != CHECKSUMS}


def test_a_folder_comes_back_as_it_was(store: SharedStore, tmp_path: Path) -> None:
    assert not store.fetch("runs/x", tmp_path / "x")
    assert not (tmp_path / "x").exists()
    store.push(folder(tmp_path / "mine", a="1", b="2", c="1"), "runs/x")
    assert store.fetch("runs/x", tmp_path / "x")
    assert content(tmp_path / "x") == {"a": "1", "b": "2", "c": "1"}
    assert not store.fetch("runs", tmp_path / "y")


def test_what_is_half_written_is_not_there(
    store: SharedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine dies after any of the files; the next one writes all."""
    mine = folder(tmp_path / "mine", a="1", b="2")
    put = SharedStore._put
    for survived in range(3):
        left = iter(range(survived))

        def dying(self: SharedStore, file: Path, name: str, left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise KeyboardInterrupt
            put(self, file, name)

        with monkeypatch.context() as patch:
            patch.setattr(SharedStore, "_put", dying)
            with pytest.raises(KeyboardInterrupt):
                store.push(mine, "runs/x")
        assert not store.fetch("runs/x", tmp_path / "x")
    store.push(mine, "runs/x")
    assert store.fetch("runs/x", tmp_path / "x")


def test_two_machines_that_write_at_once_do_not_mix(
    store: SharedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both find nothing there and write; whatever the order, one of the two comes back."""
    one, other = folder(tmp_path / "one", a="1", b="1"), folder(tmp_path / "other", a="2", b="2")
    put = SharedStore._put
    with monkeypatch.context() as patch:

        def interrupted(self: SharedStore, file: Path, name: str) -> None:
            patch.setattr(SharedStore, "_put", put)
            put(self, file, name)
            store.push(other, "runs/x")

        patch.setattr(SharedStore, "_put", interrupted)
        store.push(one, "runs/x")
    assert store.fetch("runs/x", tmp_path / "x")
    assert content(tmp_path / "x") in ({"a": "1", "b": "1"}, {"a": "2", "b": "2"})


def test_damage_is_found(store: SharedStore, path: str, tmp_path: Path) -> None:
    import fsspec

    store.push(folder(tmp_path / "mine", a="1"), "runs/x")
    files, root = fsspec.core.url_to_fs(path)
    (stored,) = (name for name in files.find(root) if not name.endswith(CHECKSUMS))
    files.pipe_file(stored, b"another")
    with pytest.raises(RunError, match=r"a of runs/x is damaged in the shared store .*delete"):
        store.fetch("runs/x", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_list_cannot_name_files_elsewhere(store: SharedStore, path: str, tmp_path: Path) -> None:
    import fsspec

    store.push(folder(tmp_path / "mine", a="1"), "runs/x")
    files, root = fsspec.core.url_to_fs(path)
    listed = f"{root}/runs/x/{CHECKSUMS}"
    files.pipe_file(listed, files.cat_file(listed).replace(b"  a", b"  ../../escaped"))
    store.fetch("runs/x", tmp_path / "deep" / "x")
    assert not (tmp_path / "escaped").exists()


def test_a_run_of_one_machine_is_finished_for_the_other(store: SharedStore, tmp_path: Path) -> None:
    run = RunSpec(
        recipe=2,
        kind="network",
        model="vgg16_frozen",
        task="pneumonia",
        dataset_digest="d",
        folds_digest="f",
        fold=0,
        seed=1,
    )
    here, there = RunStore(tmp_path / "here"), RunStore(tmp_path / "there")
    assert not there.has(run)
    table = predictions_frame(
        run, image_ids=["a", "b"], patient_ids=["p", "q"], part="test", labels=[0, 1], scores=[0.1, 0.9]
    )
    written = here.write(run, table, arrays={"kernel": np.arange(3.0)})
    assert there.has(run)
    fetched = there.load(run)
    assert fetched.predictions().equals(written.predictions())
    np.testing.assert_array_equal(fetched.arrays()["kernel"], np.arange(3.0))
    assert {file.name: file.read_bytes() for file in fetched.folder.iterdir()} == {
        file.name: file.read_bytes() for file in written.folder.iterdir()
    }


def test_without_a_store_nothing_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(STORE, raising=False)
    assert shared_store() is None


def test_a_path_that_nothing_opens_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fsspec", reason="fsspec is part of the extra ray")
    monkeypatch.setenv(STORE, "nowhere://x")
    with pytest.raises(InputError, match=r"RADTRANSFER_STORE cannot be opened: .*nowhere"):
        shared_store()


def test_a_store_that_fails_says_which(
    store: SharedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError("403")

    monkeypatch.setattr(store._files, "put_file", refused)
    with pytest.raises(
        RadtransferError, match=r"the shared store .* failed: PermissionError: 403 .*RADTRANSFER_STORE"
    ):
        store.push(folder(tmp_path / "mine", a="1"), "runs/x")


def test_without_fsspec_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    monkeypatch.setenv(STORE, "/mnt/disk")
    with pytest.raises(RadtransferError, match=r"fsspec is not installed .*\[ray\]"):
        shared_store()
