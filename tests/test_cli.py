"""The command line: quick to start, one line an error."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from radtransfer import __version__, cli
from radtransfer.errors import DataError, InputError


def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "radtransfer", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_help_names_every_command_and_says_what_it_does() -> None:
    said = call("--help").stdout
    for name in ("run", "study", "book", "publish", "verify", "doctor", "data", "stats"):
        line = next(line for line in said.splitlines() if line.split()[:1] == [name])
        assert len(line.split()) > 3


def test_version() -> None:
    assert call("--version").stdout == f"radtransfer {__version__}\n"


@pytest.mark.parametrize("name", ["data", "stats"])
def test_commands_of_other_packages_answer_for_themselves(name: str) -> None:
    said = call(name, "--help")
    assert said.returncode == 0
    assert f"Usage: radtransfer {name} " in said.stdout


def test_a_wrong_option_is_refused_with_status_2() -> None:
    refused = call("run", "--profil", "tiny")
    assert refused.returncode == 2
    assert "--profil" in refused.stderr


def test_executors_that_cannot_be_are_one_line_before_anything_runs() -> None:
    refused = call("run", "--workers", "2")
    assert refused.returncode == 2
    assert refused.stderr.startswith("radtransfer: error: executor: workers has no meaning for 'in-process'")
    assert refused.stderr.count("\n") == 1
    refused = call("run", "--profile", "tiny", RADTRANSFER_EXECUTOR="two")
    assert refused.returncode == 2
    assert "RADTRANSFER_EXECUTOR" in refused.stderr
    assert refused.stdout == ""


def test_an_unknown_profile_is_one_line() -> None:
    refused = call("run", "--profile", "tinny")
    assert refused.returncode == 2
    assert refused.stderr == "radtransfer: error: unknown profile 'tinny' (did you mean 'tiny'?)\n"
    assert refused.stdout == ""


def test_debug_goes_anywhere_and_shows_the_traceback() -> None:
    for arguments in (["--debug", "run", "--profile", "x"], ["run", "--profile", "x", "--debug"]):
        refused = call(*arguments)
        assert refused.returncode == 2
        assert "Traceback (most recent call last)" in refused.stderr
        assert refused.stderr.splitlines()[-1].startswith("radtransfer: error: unknown profile 'x'")


def test_outside_a_checkout_it_says_what_to_do(tmp_path: Path) -> None:
    refused = call("run", RADTRANSFER_ROOT=str(tmp_path))
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1


ERRORS = [
    # raised, status, what is said
    (InputError("bad", hint="mend it"), 2, "bad (mend it)"),
    (DataError("x.png is damaged"), 1, "x.png is damaged"),
    (OSError(errno.ENOSPC, "No space left on device"), 1, "the disk is full: [Errno 28] No space"),
    (PermissionError(errno.EACCES, "Permission denied", "a"), 1, "PermissionError: [Errno 13]"),
    (ZeroDivisionError("two\nlines"), 1, "ZeroDivisionError: two lines (--debug shows where)"),
    (KeyboardInterrupt(), 130, "interrupted; the next call goes on where this one stopped"),
]


@pytest.mark.parametrize(("error", "status", "said"), ERRORS, ids=[type(case[0]).__name__ for case in ERRORS])
def test_every_error_is_one_line(
    error: BaseException,
    status: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("radtransfer.study.driver.run_study", fail)
    monkeypatch.setattr(sys, "argv", ["radtransfer", "run"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == status
    told = capsys.readouterr().err
    assert told.startswith(f"radtransfer: error: {said}")
    assert told.count("\n") == 1


def test_start_up_is_quick() -> None:
    # the whole scientific stack takes seconds; the command line must answer before that
    code = (
        "import sys, radtransfer.cli;"
        "print([name for name in ('tensorflow', 'keras', 'numpy', 'pandas', 'scipy') if name in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )
