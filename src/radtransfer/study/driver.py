"""The driver: runs a profile's notebooks in order, and only those whose result would change.

Everything is checked before anything runs. A step's old record is removed before it starts and its
new notebook moves into place when it is complete, so that whatever interrupts a run, nothing
half-written is read and the next call goes on where it stopped.
"""

from __future__ import annotations

import json
import os
import re
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from radtransfer import errors, paths
from radtransfer.atomic import write_json, write_text
from radtransfer.errors import RadtransferError, RunError, StepError, unknown_name
from radtransfer.hashing import sha256_file
from radtransfer.report.numbers import Record, first_complaint
from radtransfer.study.cachekey import KeyParts, key_parts
from radtransfer.study.machine import cores, environment, gpus, interrupt_kernels
from radtransfer.study.profiles import (
    NOTEBOOKS,
    STUDY_DIR,
    Notebook,
    NotebookParameters,
    Profile,
    check_notebook,
    load_profile,
)
from radtransfer.study.progress import Reporter, duration
from radtransfer.training.executors.settings import ENVIRONMENT as EXECUTOR
from radtransfer.training.executors.settings import ExecutorSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from concurrent.futures import Executor, Future
    from pathlib import Path

    from papermill.exceptions import PapermillExecutionError

    from radtransfer.study.progress import LastLine


INJECTED = "injected-parameters"
"""Tag of the cell in which papermill puts a profile's values, below the notebook's own."""

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
"""IPython paints its tracebacks."""

FAILED_LINE = re.compile(r"^Cell In\[\d+\], line (\d+)", re.MULTILINE)
"""Where IPython says which line of the cell was being executed."""


class StepEntry(BaseModel):
    """What the log keeps of a completed step.

    Attributes
    ----------
    key : str
        Content hash of ``parts``.
    parts : KeyParts
        What the result depends on, so that a change can be named.
    outputs : dict of str to str
        SHA-256 by file, relative to the study's folder.
    stores : tuple of str
        Curated dataset and training runs that the record refers to, relative to the work folder.
    seconds : float
        Wall-clock time.
    finished : str
        Time of day, ISO 8601, UTC.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    parts: KeyParts
    outputs: dict[str, str]
    stores: tuple[str, ...]
    seconds: float
    finished: str


class StudyLog(BaseModel):
    """``steps.json``: which steps of a profile are complete.

    Attributes
    ----------
    profile : str
        Name of the profile.
    publishable : bool
        Whether its results may be published.
    steps : dict of str to StepEntry
        Completed steps.
    seconds : dict of str to float
        Wall-clock time of each step's last complete run, kept when the step is run again.
    """

    model_config = ConfigDict(extra="forbid")

    profile: str
    publishable: bool
    steps: dict[str, StepEntry] = {}
    seconds: dict[str, float] = {}

    @staticmethod
    def path(profile: str) -> Path:
        """Where the log of a profile lies."""
        return paths.study_dir(profile) / "steps.json"

    @classmethod
    def read(cls, profile: Profile) -> StudyLog:
        """Read the log; an absent or unreadable one is empty, so that every step runs."""
        log = cls(profile=profile.name, publishable=profile.publishable)
        try:
            old = cls.model_validate_json(cls.path(profile.name).read_bytes())
        except (FileNotFoundError, ValidationError):
            return log
        return log.model_copy(update={"steps": old.steps, "seconds": old.seconds})

    def keys(self, taken: Mapping[str, str] | None = None) -> dict[str, str]:
        """Key of each completed step, and the digest of each record that was taken for one."""
        return {name: entry.key for name, entry in self.steps.items()} | dict(taken or {})

    def write(self) -> None:
        """Write the log atomically."""
        write_json(self.path(self.profile), self.model_dump(mode="json"))


@dataclass(frozen=True)
class StepState:
    """A step and why it would run.

    Attributes
    ----------
    notebook : Notebook
        The step.
    parts : KeyParts
        What its result depends on now.
    reason : str
        Why it would run; empty if its result stands.
    """

    notebook: Notebook
    parts: KeyParts
    reason: str


@dataclass(frozen=True)
class StepResult:
    """What the driver did about a step.

    Attributes
    ----------
    name : str
        The step.
    reason : str
        Why it ran; empty if it was skipped.
    seconds : float
        Wall-clock time; 0 if it was skipped.
    """

    name: str
    reason: str
    seconds: float


def check_study(name: str) -> Profile:
    """Check all that can be checked before anything runs.

    Parameters
    ----------
    name : str
        Name of the profile.

    Returns
    -------
    Profile
        With every parameter checked, and every notebook's own cell in agreement.
    """
    profile = load_profile(name)
    for notebook in profile.notebooks:
        check_notebook(NOTEBOOKS[notebook])
    return profile


def step_state(
    profile: Profile, name: str, log: StudyLog, taken: Mapping[str, str] | None = None
) -> StepState:
    """Compare a step with its last complete run.

    Parameters
    ----------
    profile : Profile
        The profile.
    name : str
        The step.
    log : StudyLog
        Completed steps.
    taken : mapping of str to str, optional
        Digests of records that stand for steps which are not run.

    Returns
    -------
    StepState
        Whose ``reason`` is empty if the step need not run.
    """
    notebook = NOTEBOOKS[name]
    keys = log.keys(taken)
    previous = {need: keys.get(need, "") for need in notebook.needs}
    parts = key_parts(notebook, profile.notebooks[name], previous)
    entry = log.steps.get(name)
    if entry is None:
        return StepState(notebook, parts, "not complete" if name in log.seconds else "first run")
    return StepState(notebook, parts, parts.changes_since(entry.parts) or _damage(profile.name, entry))


def study_state(profile: Profile) -> list[StepState]:
    """State of every step of a profile; runs nothing."""
    log = StudyLog.read(profile)
    return [step_state(profile, name, log) for name in profile.notebooks]


def _damage(profile: str, entry: StepEntry) -> str:
    """Say which output of a completed step is gone or altered, if any."""
    for name, digest in entry.outputs.items():
        path = paths.study_dir(profile) / name
        if not path.is_file():
            return f"{name} is gone"
        if sha256_file(path) != digest:
            return f"{name} was altered"
    for name in entry.stores:
        if not (paths.work_dir() / name).is_dir():
            return f"{name} is gone"
    return ""


def find_step(profile: Profile, wanted: str) -> str:
    """Name of the step that a number (``"03"``) or a name means.

    Raises
    ------
    InputError
        If the profile has no such step.
    """
    for name in profile.notebooks:
        if wanted in (name, name.split("_")[0], name.split("_")[0].lstrip("0")):
            return name
    raise unknown_name("notebook", wanted, profile.notebooks)


def run_study(
    name: str,
    *,
    only: str | None = None,
    taken: Mapping[str, str] | None = None,
    force: bool = False,
    executor: ExecutorSettings | None = None,
    reporter: Reporter | None = None,
) -> list[StepResult]:
    """Run a profile's notebooks.

    Parameters
    ----------
    name : str
        Name of the profile.
    only : str, optional
        Number or name of the one step to run, on the records the others left.
    taken : mapping of str to str, optional
        Steps not to run, and the digests of records from elsewhere that lie where theirs would.
    force : bool
        Run steps whose result stands, too.
    executor : ExecutorSettings, optional
        Where training runs are executed; changes no result and no step's key. As the environment
        says by default.
    reporter : Reporter, optional
        Says what is done; standard output by default.

    Returns
    -------
    list of StepResult
        In order.

    Raises
    ------
    InputError
        If anything is wrong with the profile or a notebook's parameters; nothing has run then.
    RunError
        If another process runs this profile.
    StepError
        If a notebook fails; what runs beside it is completed, later ones do not run.
    """
    reporter = reporter or Reporter()
    profile = check_study(name)
    executor = executor or ExecutorSettings.from_environment()
    taken = taken or {}
    wanted = [find_step(profile, only)] if only else [step for step in profile.notebooks if step not in taken]
    with study_lock(profile), kernel_environment(offline=profile.offline, executor=executor):
        write_text(paths.study_dir(name) / "profile.yaml", profile.path.read_text(encoding="utf-8"))
        log = StudyLog.read(profile)
        log.write()
        return _Steps(profile, log, taken, force=force, reporter=reporter).run(wanted)


@contextmanager
def study_lock(profile: Profile) -> Iterator[None]:
    """Hold a profile's folder against other processes.

    Raises
    ------
    RunError
        At once, if another process holds it.
    """
    folder = paths.study_dir(profile.name)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        # the system drops the lock with its process, however that ends
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout:
        raise RunError(
            f"another process is running the profile {profile.name!r} in {folder}",
            hint="wait for it, or set RADTRANSFER_WORK to another folder",
        ) from None


@contextmanager
def kernel_environment(*, offline: bool, executor: ExecutorSettings | None = None) -> Iterator[None]:
    """Set what the kernels inherit: the same folders, whatever user settings there are.

    Parameters
    ----------
    offline : bool
        Whether notebooks are kept from the network.
    executor : ExecutorSettings, optional
        Where notebooks let training runs be executed; as the environment says by default.
    """
    chosen = {
        "RADTRANSFER_ROOT": str(paths.project_root()),
        "RADTRANSFER_WORK": str(paths.work_dir()),
        "IPYTHONDIR": str(paths.work_dir() / ".ipython"),
        "PYTHONNOUSERSITE": "1",
        "PYTHONHASHSEED": "0",
        "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2"),
    }
    if offline:
        chosen["RADTRANSFER_OFFLINE"] = "1"
    if executor is not None:
        chosen[EXECUTOR] = executor.model_dump_json()
    before = {name: os.environ.get(name) for name in chosen}
    os.environ.update(chosen)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@dataclass(frozen=True)
class _Begun:
    """A step whose notebook is being executed."""

    state: StepState
    reason: str
    start: float


class _Steps:
    """Runs steps, several at a time where the profile says so and there are cores for it."""

    def __init__(
        self,
        profile: Profile,
        log: StudyLog,
        taken: Mapping[str, str],
        *,
        force: bool,
        reporter: Reporter,
    ) -> None:
        self.profile, self.log, self.taken = profile, log, taken
        self.force, self.reporter = force, reporter
        # two kernels would each take all the memory of a GPU
        self.at_once = 1 if gpus() else min(profile.at_once, cores())
        self.results: dict[str, StepResult] = {}
        self.running: dict[Future[Record], _Begun] = {}

    def run(self, wanted: Sequence[str]) -> list[StepResult]:
        """Run steps that have to; their results in the order of the names."""
        with ThreadPoolExecutor(self.at_once) as kernels:
            try:
                self._run(list(wanted), kernels)
            except KeyboardInterrupt:
                interrupt_kernels()
                raise
        return [self.results[name] for name in wanted]

    def _run(self, waiting: list[str], kernels: Executor) -> None:
        try:
            while waiting or self.running:
                for name in self._ready(waiting):
                    waiting.remove(name)
                    self._begin(name, kernels)
                self._complete_some()
        except StepError:
            while self.running:
                with suppress(StepError):  # the first is told
                    self._complete_some()
            raise

    def _ready(self, waiting: Sequence[str]) -> list[str]:
        """Steps to begin now: in order, as many as there is room for, none before one that it needs."""
        room = self.at_once - len(self.running)
        underway = {*waiting, *(begun.state.notebook.name for begun in self.running.values())}
        return [name for name in waiting if underway.isdisjoint(NOTEBOOKS[name].needs)][:room]

    def _begin(self, name: str, kernels: Executor) -> None:
        state = step_state(self.profile, name, self.log, self.taken)
        complete = {*self.log.steps, *self.taken}
        if missing := [need for need in state.notebook.needs if need not in complete]:
            raise StepError(
                f"{name} needs {', '.join(missing)}, which has not been run",
                hint=f"radtransfer run --profile {self.profile.name}",
            )
        reason = state.reason or ("--force" if self.force else "")
        if not reason:
            news = (
                "only its prose changed"
                if _refresh_prose(self.profile, name, self.log)
                else "nothing it depends on changed"
            )
            self.reporter.line(f"skip    {name}: {news}")
            self.results[name] = StepResult(name, "", 0.0)
            return
        expected = self.log.seconds.get(name)
        about = f" (about {duration(expected)})" if expected else ""
        self.reporter.line(f"run     {name}: {reason}{about}")
        _forget(self.profile, name, self.log)
        write_json(paths.study_dir(self.profile.name) / "environment.json", environment())
        begun = _Begun(state, reason, monotonic())
        self.running[kernels.submit(self._execute, state.notebook, expected)] = begun

    def _execute(self, notebook: Notebook, expected: float | None) -> Record:
        with self.reporter.running(notebook.name, expected) as last_line:
            return execute(self.profile.name, notebook, self.profile.notebooks[notebook.name], last_line)

    def _complete_some(self) -> None:
        """Wait until one of those that run has ended, and log those that have."""
        for future in wait(self.running, return_when=FIRST_COMPLETED).done:
            begun = self.running.pop(future)
            name, seconds = begun.state.notebook.name, round(monotonic() - begun.start, 2)
            try:
                record = future.result()
            except StepError:
                self.reporter.line(f"failed  {name} after {duration(seconds)}")
                raise
            self.log.steps[name] = StepEntry(
                key=begun.state.parts.key,
                parts=begun.state.parts,
                outputs=_outputs(self.profile.name, record),
                stores=_stores(record),
                seconds=seconds,
                finished=datetime.now(UTC).isoformat(timespec="seconds"),
            )
            self.log.seconds[name] = seconds
            self.log.write()
            self.reporter.line(f"done    {name} in {duration(seconds)}")
            self.results[name] = StepResult(name, begun.reason, seconds)


def _refresh_prose(profile: Profile, name: str, log: StudyLog) -> bool:
    """Take over prose that changed in a notebook whose results stand; says whether there was any."""
    executed = _files(profile.name, name)[0]
    notebook = json.loads(executed.read_text(encoding="utf-8"))
    refreshed = with_prose_of(NOTEBOOKS[name], notebook)
    if refreshed is notebook:
        return False
    write_json(executed, refreshed)
    entry = log.steps[name]
    outputs = entry.outputs | {f"notebooks/{name}.ipynb": sha256_file(executed)}
    log.steps[name] = entry.model_copy(update={"outputs": outputs})
    log.write()
    return True


def with_prose_of(notebook: Notebook, executed: dict[str, Any]) -> dict[str, Any]:
    """Executed notebook with the prose that its source has now.

    Parameters
    ----------
    notebook : Notebook
        Whose source holds the same code.
    executed : dict
        As papermill left it.

    Returns
    -------
    dict
        The very notebook if the prose is the same.
    """
    code = [cell for cell in executed["cells"] if cell["cell_type"] == "code"]
    cells = []
    for cell in json.loads(notebook.path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] != "code":
            cells.append(cell)
            continue
        cells.append(code.pop(0))
        if code and INJECTED in code[0]["metadata"].get("tags", []):
            cells.append(code.pop(0))
    return executed if _prose(cells) == _prose(executed["cells"]) else executed | {"cells": cells}


def _prose(cells: list[dict[str, Any]]) -> list[str]:
    return ["".join(cell["source"]) if cell["cell_type"] != "code" else "" for cell in cells]


def _files(profile: str, name: str) -> tuple[Path, Path, Path]:
    """Executed notebook, the same while it is being executed, and the record it writes."""
    folder = paths.study_dir(profile)
    return (
        folder / "notebooks" / f"{name}.ipynb",
        folder / "unfinished" / f"{name}.ipynb",
        folder / "records" / f"{name}.json",
    )


def _forget(profile: Profile, name: str, log: StudyLog) -> None:
    """Remove what a step left, so that no later step reads it if this one fails."""
    old = log.steps.pop(name, None)
    log.write()
    stale = [paths.study_dir(profile.name) / output for output in (old.outputs if old else ())]
    for path in (*stale, *_files(profile.name, name)):
        path.unlink(missing_ok=True)


def execute(profile: str, notebook: Notebook, parameters: NotebookParameters, last_line: LastLine) -> Record:
    """Execute a notebook and move it into place, on whatever records lie in the profile's study folder.

    Parameters
    ----------
    profile : str
        Name of the profile.
    notebook : Notebook
        What to execute.
    parameters : NotebookParameters
        Its checked parameters.
    last_line : LastLine
        Takes what the notebook prints.

    Returns
    -------
    Record
        What the notebook recorded.

    Raises
    ------
    StepError
        If the notebook fails, or leaves no record.
    """
    finished, unfinished, record = _files(profile, notebook.name)
    finished.parent.mkdir(parents=True, exist_ok=True)
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    given = parameters.model_dump(mode="json")
    _papermill(notebook, unfinished, {STUDY_DIR: _study_dir(profile), **given}, last_line)
    try:
        left = Record.model_validate_json(record.read_bytes())
    except FileNotFoundError:
        raise StepError(f"{notebook.name} saved no record", hint="end it with step.save()") from None
    except ValidationError as error:
        raise StepError(f"{record} is not a record: {first_complaint(error)}") from None
    unfinished.replace(finished)
    return left


def _outputs(profile: str, record: Record) -> dict[str, str]:
    """Digest by file, relative to the study's folder, of all that a step left there."""
    names = [f"notebooks/{record.notebook}.ipynb", f"records/{record.notebook}.json"]
    names += [f"figures/{name}.{ending}" for name in record.figures for ending in ("png", "csv", "json")]
    names += [f"tables/{name}.{ending}" for name in record.tables for ending in ("csv", "json")]
    return {name: sha256_file(paths.study_dir(profile) / name) for name in names}


def _stores(record: Record) -> tuple[str, ...]:
    """Folders outside the study's that a record refers to."""
    folders = [paths.runs_dir() / run for run in record.runs]
    folders += [paths.curated_dir() / name for name in record.datasets.values()]
    return tuple(str(folder.relative_to(paths.work_dir())) for folder in folders)


def _study_dir(profile: str) -> str:
    """Study folder as notebooks see it: relative where it can be, so that no home is published."""
    folder, root = paths.study_dir(profile), paths.project_root()
    return str(folder.relative_to(root) if folder.is_relative_to(root) else folder)


def _papermill(notebook: Notebook, target: Path, parameters: Mapping[str, Any], last_line: LastLine) -> None:
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    from radtransfer.study.kernel import own_kernel_manager

    log = target.with_suffix(".log")
    try:
        papermill.execute_notebook(
            str(notebook.path),
            str(target),
            parameters=dict(parameters),
            cwd=str(paths.project_root()),
            kernel_name="python3",
            language="python",
            kernel_manager_class=own_kernel_manager(log),
            progress_bar=False,
            stdout_file=last_line,
            # a loaded machine starts kernels and passes messages late; that is no failure
            start_timeout=300,
            iopub_timeout=60,
        )
    except PapermillExecutionError as error:
        raise _notebook_error(notebook, target, error) from None
    except DeadKernelError:
        raise StepError(
            f"{notebook.name}: its kernel died; half-executed notebook: {target}, its last words: {log}",
            hint="most often memory: smaller BATCH_SIZE or VIEWS, or see radtransfer doctor",
        ) from None
    log.unlink(missing_ok=True)


def _notebook_error(notebook: Notebook, target: Path, error: PapermillExecutionError) -> StepError:
    """Tell a failed cell in one line; the traceback goes along as a note for ``--debug``."""
    told = {
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, RadtransferError)
    }
    reason = error.evalue if error.ename in told else f"{error.ename}: {error.evalue}"
    trace = COLOUR.sub("", "\n".join(error.traceback))
    # IPython drops leading empty lines before it counts
    lines = error.source.strip().splitlines() or [""]
    found = FAILED_LINE.search(trace)
    number = min(int(found[1]), len(lines)) if found else 1
    failure = StepError(
        f"{notebook.name}, cell [{error.exec_count}], line {number}, {lines[number - 1].strip()!r}: "
        f"{' '.join(reason.split())}; half-executed notebook: {target}",
        hint="--debug shows the traceback",
    )
    failure.add_note(trace)
    return failure
