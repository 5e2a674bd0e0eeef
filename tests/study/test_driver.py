"""The driver with real kernels: what runs, what is skipped, what fails, what is killed."""

from __future__ import annotations

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from rich.console import Console
from small_project import PARAMETERS, RECORD, Project

from radtransfer import paths
from radtransfer.errors import InputError, RunError, StepError
from radtransfer.study import driver
from radtransfer.study.driver import (
    StudyLog,
    _Steps,
    check_study,
    find_step,
    run_study,
    study_lock,
    study_state,
)
from radtransfer.study.profiles import Notebook, load_profile
from radtransfer.study.progress import LastLine, Reporter, duration
from radtransfer.study.whole import check_steps
from radtransfer.training.executors.settings import ExecutorSettings

THREE = ("01_data_curation", "02_traditional_baselines", "03_transfer_learning")


@pytest.fixture
def reporter() -> Reporter:
    return Reporter(Console(record=True, quiet=False, file=open(os.devnull, "w"), width=300))  # noqa: PTH123


def reasons(project: Project) -> dict[str, str]:
    """Why each step would run."""
    return {state.notebook.name: state.reason for state in study_state(load_profile("small"))}


def lines(reporter: Reporter) -> list[str]:
    """What was printed since the last call."""
    return reporter.console.export_text(clear=True).splitlines()


@pytest.fixture
def no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Execute notebooks in this process, where only their order is of interest: kernels take seconds."""

    def execute(notebook: Notebook, target: Path, parameters: Mapping[str, Any], _: LastLine) -> None:
        names = dict(parameters)
        monkeypatch.chdir(paths.project_root())
        for cell in nbformat.read(notebook.path, as_version=4).cells:
            if cell.cell_type == "code" and "parameters" not in cell.metadata.get("tags", []):
                exec(cell.source, names)
        shutil.copy(notebook.path, target)

    monkeypatch.setattr(driver, "_papermill", execute)


def test_where_runs_are_executed_reaches_the_kernel_and_changes_no_key(
    project: Project, reporter: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RADTRANSFER_EXECUTOR", raising=False)
    asked = "import os; os.environ['RADTRANSFER_EXECUTOR']"
    project.write_notebook("01_data_curation", asked, RECORD.format(name="01_data_curation"))
    settings = ExecutorSettings(kind="process", workers=3)
    run_study("small", executor=settings, reporter=reporter)
    notebook = nbformat.read(project.study / "notebooks" / "01_data_curation.ipynb", as_version=4)
    told = ast.literal_eval(notebook.cells[3].outputs[0]["data"]["text/plain"])
    assert ExecutorSettings.model_validate_json(told) == settings
    assert "RADTRANSFER_EXECUTOR" not in os.environ
    (again,) = run_study("small", reporter=reporter)
    assert again.reason == ""


def test_a_step_runs_once_and_again_only_for_a_reason(project: Project, reporter: Reporter) -> None:
    project.write_notebook("01_data_curation", "'out' + 'put'", RECORD.format(name="01_data_curation"))
    (first,) = run_study("small", reporter=reporter)
    assert first.reason == "first run"
    assert lines(reporter)[0] == "run     01_data_curation: first run"

    executed = project.study / "notebooks" / "01_data_curation.ipynb"
    notebook = nbformat.read(executed, as_version=4)
    nbformat.validate(notebook)
    assert [cell.metadata.get("tags") for cell in notebook.cells[1:3]] == [
        ["parameters"],
        ["injected-parameters"],
    ]
    assert 'STUDY_DIR = "work/study/small"' in notebook.cells[2].source
    assert notebook.cells[3].outputs[0]["data"]["text/plain"] == "'output'"
    assert (project.study / "profile.yaml").read_text() == (project.root / "profiles/small.yaml").read_text()
    assert not list((project.study / "unfinished").iterdir())

    before = executed.read_bytes()
    (second,) = run_study("small", reporter=reporter)
    assert (second.reason, second.seconds) == ("", 0.0)
    assert lines(reporter) == ["skip    01_data_curation: nothing it depends on changed"]
    assert executed.read_bytes() == before

    # new prose reaches the executed copy, whose outputs stay
    project.write_notebook(
        "01_data_curation", "'out' + 'put'", RECORD.format(name="01_data_curation"), prose="# New prose"
    )
    run_study("small", reporter=reporter)
    assert lines(reporter) == ["skip    01_data_curation: only its prose changed"]
    refreshed = nbformat.read(executed, as_version=4)
    assert refreshed.cells[0].source == "# New prose"
    assert refreshed.cells[1:] == notebook.cells[1:]
    assert reasons(project) == {"01_data_curation": ""}

    project.set_parameters(SEED=2)
    assert reasons(project) == {"01_data_curation": "parameters changed: SEED 1 -> 2"}
    project.set_parameters(SEED=1)
    record = project.study / "records" / "01_data_curation.json"
    record.write_text(record.read_text() + " ")
    assert reasons(project) == {"01_data_curation": "records/01_data_curation.json was altered"}
    record.unlink()
    assert reasons(project) == {"01_data_curation": "records/01_data_curation.json is gone"}
    (again,) = run_study("small", reporter=reporter)
    assert again.reason == "records/01_data_curation.json is gone"
    assert "(about " in lines(reporter)[0]


@pytest.mark.usefixtures("no_kernels")
def test_steps_follow_those_they_build_on(project: Project, reporter: Reporter) -> None:
    for name in THREE:
        project.write_notebook(name)
    project.write_profile(notebooks={name: PARAMETERS[name] for name in THREE})
    with pytest.raises(StepError, match=r"needs 01_data_curation, which has not been run"):
        run_study("small", only="03", reporter=reporter)
    assert [result.name for result in run_study("small", reporter=reporter)] == list(THREE)

    project.write_notebook("02_traditional_baselines", RECORD.format(name=THREE[1]) + "\nprint()")
    assert reasons(project) == dict.fromkeys(THREE, "") | {THREE[1]: "notebook changed"}
    # the second step is run again, the third does not build on it
    assert [bool(result.reason) for result in run_study("small", reporter=reporter)] == [False, True, False]
    (forced,) = run_study("small", only="3", force=True, reporter=reporter)
    assert (forced.name, forced.reason) == (THREE[2], "--force")

    project.write_notebook(THREE[0], RECORD.format(name=THREE[0]) + "\nprint()")
    results = run_study("small", reporter=reporter)
    assert [result.reason for result in results] == [
        "notebook changed",
        "built on 01_data_curation, which ran again",
        "built on 01_data_curation, which ran again",
    ]


@pytest.mark.usefixtures("no_kernels")
def test_a_record_from_elsewhere_can_stand_for_a_step(project: Project, reporter: Reporter) -> None:
    *others, taken = THREE
    for name in (*THREE, "06_holdout"):
        project.write_notebook(name)
    project.write_profile(notebooks={name: PARAMETERS[name] for name in (*THREE, "06_holdout")})
    record = project.study / "records" / f"{taken}.json"
    record.parent.mkdir(parents=True)
    record.write_text("{}")

    results = run_study("small", taken={taken: "one"}, reporter=reporter)
    assert [result.name for result in results] == [*others, "06_holdout"]
    assert record.read_text() == "{}"
    results = run_study("small", taken={taken: "another"}, reporter=reporter)
    assert [result.reason for result in results] == ["", "", f"built on {taken}, which ran again"]
    check_steps("small", {taken: "another"})
    for stale in ({taken: "one"}, {}):
        with pytest.raises(StepError, match="has not been run since the steps it builds on"):
            check_steps("small", stale)


MEET = """\
import pathlib, time
folder = pathlib.Path(STUDY_DIR)
(folder / "{own}").touch()
end = time.monotonic() + 60
while not (folder / "{other}").exists() and time.monotonic() < end:
    time.sleep(0.05)
assert (folder / "{other}").exists(), "nobody came"
"""


def meeting(project: Project, *, then: str = "") -> None:
    """Profile whose last two notebooks each wait for the other; then the second does something else."""
    project.write_notebook(THREE[0])
    for own, other, more in ((THREE[1], THREE[2], then), (THREE[2], THREE[1], "")):
        project.write_notebook(own, MEET.format(own=own, other=other) + more, RECORD.format(name=own))
    project.write_profile(at_once=2, notebooks={name: PARAMETERS[name] for name in THREE})


def test_steps_that_need_nothing_of_each_other_run_at_once(
    project: Project, reporter: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "cores", lambda: 8)
    monkeypatch.setattr(driver, "gpus", list)
    meeting(project)
    results = run_study("small", reporter=reporter)
    assert [(result.name, result.reason) for result in results] == [(name, "first run") for name in THREE]
    assert [line.split()[0] for line in lines(reporter)] == ["run", "done", "run", "run", "done", "done"]
    assert reasons(project) == dict.fromkeys(THREE, "")


def test_what_runs_beside_a_failing_notebook_is_completed(
    project: Project, reporter: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "cores", lambda: 8)
    monkeypatch.setattr(driver, "gpus", list)
    meeting(project, then="1 / 0")
    with pytest.raises(StepError, match=f"{THREE[1]}.*ZeroDivisionError"):
        run_study("small", reporter=reporter)
    assert sorted(StudyLog.read(load_profile("small")).steps) == [THREE[0], THREE[2]]


@pytest.mark.parametrize(("cores", "gpus"), [(1, []), (8, ["a GPU, 80 GiB"])])
def test_a_single_core_and_a_gpu_execute_one_notebook_at_a_time(
    project: Project, monkeypatch: pytest.MonkeyPatch, cores: int, gpus: list[str]
) -> None:
    monkeypatch.setattr(driver, "cores", lambda: cores)
    monkeypatch.setattr(driver, "gpus", lambda: gpus)
    project.write_profile(at_once=2)
    profile = load_profile("small")
    assert _Steps(profile, StudyLog.read(profile), {}, force=False, reporter=Reporter()).at_once == 1


def test_a_failing_notebook_stops_the_run(project: Project) -> None:
    first, second, third = THREE
    for name in (first, third):
        project.write_notebook(name)
    project.write_notebook(second, "def divide(a, b):\n    return a / b", "\ndivide(1,\n  0)", "'later'")
    project.write_profile(notebooks={name: PARAMETERS[name] for name in THREE})
    stale = [project.study / "records" / f"{second}.json", project.study / "notebooks" / f"{second}.ipynb"]
    published = project.root / "results" / "numbers.json"
    for path in (*stale, published):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")

    failed = project.cli("run", "--profile", "small")
    unfinished = project.study / "unfinished" / f"{second}.ipynb"
    assert failed.returncode == 1
    assert [line.replace(":", "").split()[:2] for line in failed.stdout.splitlines()] == [
        ["run", first],
        ["done", first],
        ["run", second],
        ["failed", second],
    ]
    assert failed.stderr == (
        f"radtransfer: error: {second}, cell [4], line 1, 'divide(1,': ZeroDivisionError: division by zero; "
        f"half-executed notebook: {unfinished} (--debug shows the traceback)\n"
    )
    outputs = [cell.get("outputs") for cell in nbformat.read(unfinished, as_version=4).cells]
    assert any(output and output[0]["output_type"] == "error" for output in outputs)
    # nothing of the failed step is left to be read, and what is published is untouched
    assert not any(path.exists() for path in stale)
    assert published.read_text() == "{}"

    told = project.cli("run", "--profile", "small", "--only", "02", "--debug")
    assert "return a / b" in told.stderr
    assert told.stderr.splitlines()[-1] == failed.stderr.rstrip()


def test_an_error_of_the_library_is_shown_as_it_is(project: Project, reporter: Reporter) -> None:
    code = "from radtransfer.errors import DataError as E\nraise E('x.png is damaged', hint='fetch it again')"
    project.write_notebook("01_data_curation", code)
    with pytest.raises(StepError, match=r"cell \[3\], line 2, .* x\.png is damaged \(fetch it again\);"):
        run_study("small", reporter=reporter)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "its kernel died"),
        ("'no record'", r"saved no record \(end it with step.save\(\)\)"),
    ],
)
def test_a_step_that_does_not_complete_is_an_error(
    project: Project, reporter: Reporter, code: str, said: str
) -> None:
    project.write_notebook("01_data_curation", code)
    with pytest.raises(StepError, match=said):
        run_study("small", reporter=reporter)
    assert reasons(project) == {"01_data_curation": "first run"}


def test_nothing_runs_if_anything_is_wrong(project: Project) -> None:
    project.set_parameters(IMAGE_SIZ=64)
    refused = project.cli("run", "--profile", "small")
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert "did you mean 'IMAGE_SIZE'?" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert not (project.root / "work").exists()

    project.write_profile()
    project.write_notebook(parameters=PARAMETERS["01_data_curation"] | {"SEEED": 1})
    assert project.cli("run", "--profile", "small").returncode == 2
    assert not (project.root / "work").exists()


def test_a_profile_is_run_by_one_process_at_a_time(project: Project, reporter: Reporter) -> None:
    with (
        study_lock(check_study("small")),
        pytest.raises(RunError, match="another process is running the profile 'small'"),
    ):
        run_study("small", reporter=reporter)


def test_kernels_see_the_projects_folders_and_interpreter(
    project: Project, reporter: Reporter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # a kernel of this name that another environment installed for the user must not be taken
    spec = tmp_path / "share" / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": ["/bin/false"], "display_name": "x", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share"))
    project.write_profile(offline=True)
    code = (
        "import os, sys, pathlib\n"
        "assert sys.executable == " + repr(sys.executable) + "\n"
        "assert os.environ['RADTRANSFER_OFFLINE'] == '1'\n"
        "assert pathlib.Path.cwd() == pathlib.Path(os.environ['RADTRANSFER_ROOT']) == "
        f"pathlib.Path({str(project.root)!r})"
    )
    project.write_notebook("01_data_curation", code, RECORD.format(name="01_data_curation"))
    run_study("small", reporter=reporter)
    assert "RADTRANSFER_OFFLINE" not in os.environ


WAIT = """\
import os, pathlib, time
ticks = pathlib.Path(STUDY_DIR, "..", "ticks")
pathlib.Path(STUDY_DIR, "..", "pid").write_text(str(os.getpid()))
for tick in range(int(os.environ.get("TICKS", "0"))):
    ticks.write_text(str(tick))
    time.sleep(0.1)
"""


def wait_for(condition: Callable[[], bool], seconds: float = 300.0) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def start_and_wait(project: Project) -> tuple[subprocess.Popen[str], Path]:
    """Start the command line in a long cell of the second step."""
    for name in THREE[:2]:
        project.write_notebook(name)
    project.write_notebook(THREE[1], WAIT, RECORD.format(name=THREE[1]))
    project.write_profile(notebooks={name: PARAMETERS[name] for name in THREE[:2]})
    process = subprocess.Popen(
        project.command("run", "--profile", "small"),
        env=project.environment(TICKS="600"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a shell that starts a job in the background has it ignore Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    ticks = project.study.parent / "ticks"
    wait_for(ticks.exists)
    return process, ticks


def finished(project: Project) -> dict[str, str]:
    """Everything that later steps read, and the code and outputs of the notebooks."""
    content = {path.name: path.read_text() for path in sorted((project.study / "records").iterdir())}
    for path in sorted((project.study / "notebooks").iterdir()):
        cells = nbformat.read(path, as_version=4).cells
        content[path.name] = json.dumps([[cell.source, cell.get("outputs")] for cell in cells])
    return content


def test_a_run_that_is_killed_goes_on_where_it_stopped(project: Project, reporter: Reporter) -> None:
    process, ticks = start_and_wait(project)
    kernel = psutil.Process(int((project.study.parent / "pid").read_text()))
    process.kill()
    process.communicate()
    # the kernel notices that its driver is gone, and writes no more
    wait_for(lambda: not kernel.is_running() or kernel.status() == psutil.STATUS_ZOMBIE, seconds=60)
    last = ticks.read_text()
    time.sleep(0.3)
    assert ticks.read_text() == last
    assert sorted(StudyLog.read(load_profile("small")).steps) == [THREE[0]]
    assert not (project.study / "records" / f"{THREE[1]}.json").exists()
    assert not (project.study / "notebooks" / f"{THREE[1]}.ipynb").exists()

    resumed = project.cli("run", "--profile", "small")
    assert resumed.returncode == 0, resumed.stderr
    assert [line.replace(":", "").split()[:2] for line in resumed.stdout.splitlines()] == [
        ["skip", THREE[0]],
        ["run", THREE[1]],
        ["done", THREE[1]],
    ]
    after_kill = finished(project)
    shutil.rmtree(project.root / "work")
    assert len(run_study("small", reporter=reporter)) == 2
    assert finished(project) == after_kill


def test_an_interrupted_run_ends_in_one_line_and_leaves_no_kernel(project: Project) -> None:
    process, _ = start_and_wait(project)
    kernel = psutil.Process(int((project.study.parent / "pid").read_text()))
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=300)
    assert process.returncode == 130
    assert told == "radtransfer: error: interrupted; the next call goes on where this one stopped\n"
    wait_for(lambda: not kernel.is_running() or kernel.status() == psutil.STATUS_ZOMBIE, seconds=60)
    assert sorted(StudyLog.read(load_profile("small")).steps) == [THREE[0]]


def test_a_step_is_found_by_number_or_name(project: Project) -> None:
    profile = load_profile("small")
    assert {find_step(profile, name) for name in ("1", "01", "01_data_curation")} == {"01_data_curation"}
    with pytest.raises(InputError, match=r"unknown notebook '01_data_curatio' \(did you mean"):
        find_step(profile, "01_data_curatio")


def test_a_log_that_cannot_be_read_is_empty(project: Project) -> None:
    path = StudyLog.path("small")
    path.parent.mkdir(parents=True)
    path.write_text('{"steps": ')
    assert StudyLog.read(load_profile("small")).steps == {}


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.04, "0.0 s"), (59.9, "59.9 s"), (60, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")],
)
def test_times_are_said_as_people_say_them(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_of_a_notebooks_output_the_last_line_is_shown() -> None:
    last = LastLine()
    last.write("fold 1\nfold 2\n")
    assert last.text == "fold 2"
    last.write("\r 10 %\r 20 %\r")
    assert last.text == "20 %"
    last.write("\n")
    assert last.text == "20 %"
