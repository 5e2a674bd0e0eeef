"""A few hundred of the ten thousand files of ``benchmarks/fuzz.py``, the same at every run."""

from __future__ import annotations

from pathlib import Path

import harness
import pytest
from harness import Outcome, Worker, judge
from parsers import PARSERS

from radtransfer.errors import DataError

QUICK = ("png", "jpeg", "other images", "dicom", "deidentify", "mhd", "nifti", "delimited", "zip", "tar")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> list[Outcome]:
    with Worker(tmp_path_factory.mktemp("fuzz").resolve()) as worker:
        return [
            worker.parse(parser, seed) for parser in PARSERS for seed in range(14 if parser in QUICK else 4)
        ]


def test_only_own_errors_leave_a_parser_and_nothing_else_happens(outcomes: list[Outcome]) -> None:
    assert len(outcomes) >= 200
    assert [outcome for outcome in outcomes if not outcome.ok] == []


def test_mutations_are_neither_harmless_nor_hopeless(outcomes: list[Outcome]) -> None:
    """A fuzzer whose files are all refused at the door, or all accepted, tests nothing."""
    refused = sum(outcome.verdict == "refused" for outcome in outcomes)
    assert 0.2 < refused / len(outcomes) < 0.9


def test_refusals_say_what_to_do(outcomes: list[Outcome]) -> None:
    refused = [outcome for outcome in outcomes if outcome.verdict == "refused"]
    assert [outcome for outcome in refused if not outcome.advice] == []


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (None, "accepted"),
        (DataError("a.png is truncated"), "refused"),
        (DataError("something is truncated"), "message"),
        (ValueError("a.png is truncated"), "escaped"),
    ],
)
def test_the_judge_tells_good_messages_from_bad(error: Exception | None, verdict: str) -> None:
    assert judge(error, {"a.png"})[0] == verdict


MISDEEDS = {
    "pass": "accepted",
    "raise KeyError(1)": "escaped",
    "raise DataError('nothing can be read')": "message",
    "raise DataError('a.txt is damaged')": "refused",
    "(above / 'out').write_text('x')": "forbidden",
    "__import__('ctypes').CDLL(None).creat(bytes(above / 'out'), 0o644)": "forbidden",
    "(above / 'secret/canary.png').read_bytes()": "forbidden",
    "__import__('subprocess').run(['true'])": "forbidden",
    "__import__('os').system('true')": "forbidden",
    "__import__('pickle').loads(b'cposix\\nsystem\\n.')": "forbidden",
    "__import__('socket').create_connection(('127.0.0.1', 9))": "forbidden",
    "x = b'x' * (1 << 29)": "memory",
    "__import__('os').abort()": "crash",
    "exec('while True: pass')": "hang",
}

MODULE = """
from types import SimpleNamespace
from radtransfer.errors import DataError

GROWTH_BYTES = 1 << 27

def case(deed):
    def parse(folder):
        exec(deed, {"above": folder.parent.parent, "DataError": DataError})
    return SimpleNamespace(
        parse=parse,
        files={},
        names={"a.txt"},
        write=lambda folder: folder.mkdir(parents=True),
        mutate=lambda *_: "a.txt",
    )

def all_cases():
    return {deed: [case(deed)] for deed in DEEDS}
"""


def test_the_watch_sees_what_it_is_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parsers that do what none may do are caught at it."""
    (tmp_path / "misdeeds.py").write_text(f"DEEDS = {list(MISDEEDS)!r}\n{MODULE}")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(harness, "LIMIT_S", 3)
    monkeypatch.setattr(harness, "PATIENCE", 30)
    with Worker(tmp_path, "misdeeds") as worker:
        seen = {deed: worker.parse(deed, 0).verdict for deed in MISDEEDS}
    assert seen == MISDEEDS


def test_files_that_once_broke_a_parser(tmp_path: Path) -> None:
    """Found by ``benchmarks/fuzz.py``; a file is made again by its parser's name and seed."""
    once = [
        ("phe_sich", 159),
        ("phe_sich", 261),
        ("table", 296),
        ("chestxray14", 313),
        ("luna16", 4),
        ("folder", 380),
    ]
    with Worker(tmp_path) as worker:
        outcomes = [worker.parse(parser, seed) for parser, seed in once]
    assert [outcome.told for outcome in outcomes if not outcome.ok] == []
