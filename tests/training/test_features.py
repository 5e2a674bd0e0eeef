"""What is stored once: contents, resume after a crash, a disk that fills."""

from __future__ import annotations

import errno
import itertools
from pathlib import Path

import numpy as np
import pytest

from radtransfer.errors import DataError, RadtransferError
from radtransfer.training import features
from radtransfer.training.features import Stored, _fill, _Writer

IDS = tuple(f"i{n}" for n in range(50))


def writer(name: str = "a", width: int = 3) -> _Writer:
    return _Writer({"kind": "toy", "name": name}, IDS, (3, len(IDS), width), np.dtype(np.float32))


def rows(start: int, stop: int, width: int = 3) -> np.ndarray:
    return np.arange(start * width, stop * width, dtype=np.float32).reshape(-1, width)


def whole(width: int = 3) -> np.ndarray:
    return rows(0, 3 * len(IDS), width).reshape(3, len(IDS), width)


class Killed(BaseException):
    """Stands for a process that ends without cleaning up."""


@pytest.fixture
def every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "SAVE_EVERY_S", -1.0)


@pytest.mark.usefixtures("work")
def test_batches_become_one_memory_map() -> None:
    stored = _fill({"a": writer()}, lambda start, stop: {"a": rows(start, stop)}, "toy", None)["a"]
    assert isinstance(stored.array, np.memmap)
    np.testing.assert_array_equal(stored.array, whole())
    np.testing.assert_array_equal(stored.rows(["i7", "i0"]), [7, 0])
    with pytest.raises(DataError, match="image x has no stored views"):
        stored.rows(["x"])
    assert sorted(file.name for file in stored.folder.iterdir()) == ["array.npy", "info.json"]


@pytest.mark.usefixtures("work", "every_batch")
def test_a_killed_pass_goes_on_at_its_last_mark() -> None:
    made: list[int] = []

    def produce(start: int, stop: int, *, dies_at: int = -1) -> dict[str, np.ndarray]:
        if start == dies_at:
            raise Killed
        made.append(start)
        return {"a": rows(start, stop), "b": rows(start, stop, 2)}

    def fill(**options: int) -> dict[str, Stored]:
        return _fill(
            {"a": writer("a"), "b": writer("b", 2)}, lambda *span: produce(*span, **options), "toy", None
        )

    with pytest.raises(Killed):
        fill(dies_at=96)
    # half a batch that was never marked, as a kill between write and mark leaves it
    partial = writer("a").partial / "array.npy"
    with partial.open("ab") as stream:
        stream.write(b"\x01" * 100)
    stored = fill()
    assert made == [0, 32, 64, 96, 128]
    np.testing.assert_array_equal(stored["a"].array, whole())
    np.testing.assert_array_equal(stored["b"].array, whole(2))
    made.clear()
    fill()
    assert made == []


@pytest.mark.usefixtures("work", "every_batch")
def test_only_what_is_missing_is_made() -> None:
    _fill({"a": writer("a")}, lambda start, stop: {"a": rows(start, stop)}, "toy", None)
    both = _fill(
        {"a": writer("a"), "b": writer("b", 2)},
        lambda start, stop: {"b": rows(start, stop, 2)},
        "toy",
        None,
    )
    np.testing.assert_array_equal(both["b"].array, whole(2))


def test_a_full_disk_is_explained_and_can_be_gone_on_from(
    work: Path, every_batch: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = itertools.count()
    append = _Writer.append

    def full(self: _Writer, values: np.ndarray) -> None:
        if next(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(self, values)

    monkeypatch.setattr(_Writer, "append", full)
    with pytest.raises(RadtransferError, match=r"disk is full.*free some space"):
        _fill({"a": writer()}, lambda start, stop: {"a": rows(start, stop)}, "toy", None)
    assert not writer().finished()
    starts: list[int] = []

    def produce(start: int, stop: int) -> dict[str, np.ndarray]:
        starts.append(start)
        return {"a": rows(start, stop)}

    stored = _fill({"a": writer()}, produce, "toy", None)["a"]
    assert starts[0] == 64
    np.testing.assert_array_equal(stored.array, whole())


@pytest.mark.usefixtures("work")
def test_names_follow_content() -> None:
    assert writer("a").folder != writer("b").folder
    assert writer("a").folder == writer("a").folder
