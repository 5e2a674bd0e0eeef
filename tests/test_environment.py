"""pyproject.toml, the locks, environment.yml and the Makefile say the same."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from radtransfer import __version__
from radtransfer.study import machine

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def tool(name: str) -> ModuleType:
    """Load a script of ``tools/``."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


lock = tool("lock")
install = tool("install")


def pins() -> dict[str, list[Requirement]]:
    """Locked requirements by name; one name may have several, each for some interpreter."""
    found: dict[str, list[Requirement]] = {}
    for pin in lock.locked_requirements():
        found.setdefault(canonicalize_name(pin.name), []).append(pin)
    return found


@pytest.mark.parametrize("asked", lock.direct_requirements(), ids=str)
def test_each_dependency_is_locked_to_a_version_that_fits(asked: Requirement) -> None:
    for pin in pins()[canonicalize_name(asked.name)]:
        (version,) = pin.specifier
        assert version.operator == "=="
        assert asked.specifier.contains(version.version)


@pytest.mark.parametrize("name", sorted(path.name for path in ROOT.glob("*.lock")))
def test_every_locked_package_has_hashes_and_no_index_is_named(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    entries = [entry for entry in re.split(r"\n(?=\S)", text.strip()) if not entry.startswith("# instead")]
    assert all(re.match(r"[A-Za-z0-9._-]+==\S+", entry) for entry in entries)
    assert all(len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", entry)) >= 1 for entry in entries)
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links", text)


@pytest.mark.parametrize("extra", sorted(lock.EXTRAS))
def test_what_an_extra_adds_is_locked_and_nothing_twice(extra: str) -> None:
    added = lock.locked_requirements(lock.extra_lock(extra))
    versions = {canonicalize_name(pin.name): pin.specifier for pin in added}
    for asked in lock.direct_requirements(extra):
        (version,) = versions[canonicalize_name(asked.name)]
        assert asked.specifier.contains(version.version)
    # the rest is the study's, to the last version
    assert not {str(pin) for pin in added} & {str(pin) for pin in lock.locked_requirements()}
    assert f"requirements-{extra}.lock" == install.extra_lock(extra)


def test_extras_are_locks_and_locks_are_extras() -> None:
    there = {path.name for path in ROOT.glob("requirements-*.lock")}
    assert there == {install.extra_lock(extra) for extra in lock.EXTRAS}


def test_the_gpu_build_comes_instead_of_the_other_and_nothing_else_changes() -> None:
    study, added = ((ROOT / f"requirements{name}.lock").read_text(encoding="utf-8") for name in ("", "-gpu"))
    before, after = (set(lock.entries(text)) for text in (study, install.joined(study, added)))
    assert {re.match(r"[\w-]+", line)[0] for line in before - after} == {"tensorflow", "tensorflow-cpu"}
    assert all(re.match(r"(tensorflow|nvidia-[a-z0-9-]+)==", line) for line in after - before)
    # also on Linux, where the CPU build would be
    (pinned,) = (line for line in after if line.startswith("tensorflow="))
    assert ";" not in pinned


def test_an_environment_with_extras_stands_beside_the_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("requirements.lock", "requirements-jax.lock", "requirements-ray.lock", "pyproject.toml"):
        (tmp_path / name).write_text(name)
    (tmp_path / "bootstrap.lock").write_text("uv")
    monkeypatch.setattr(install, "ROOT", tmp_path)
    plain, both = install.Environment.of([]), install.Environment.of(["ray", "jax"])
    assert plain.folder == tmp_path / ".venv"
    assert plain.lock == tmp_path / "requirements.lock"
    assert both.folder == tmp_path / ".venv-jax-ray"
    assert both.lock == both.folder / "requirements.lock"
    added = both.made_of().keys() - plain.made_of().keys()
    assert added == {"requirements-jax.lock", "requirements-ray.lock"}
    with pytest.raises(SystemExit, match="no extra 'gpus'; there are jax, ray"):
        install.Environment.of(["gpus"])


def test_make_takes_gpu_and_extras() -> None:
    told = make("-n", "study", "GPU=1", "EXTRAS=ray").stdout.splitlines()
    assert told[0].endswith("tools/install.py gpu ray")
    assert told[1].startswith(".venv-gpu-ray/bin/python -m radtransfer study")
    told = make("-n", "study").stdout.splitlines()
    assert told[0].strip().endswith("tools/install.py")
    assert told[1].startswith(".venv/bin/python -m radtransfer study")


def test_the_lock_of_an_environment_with_extras_is_the_one_in_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert machine.lock_file() == ROOT / "requirements.lock"
    (tmp_path / "requirements.lock").write_text("rich==1\n")
    assert machine.locked_versions() == {"rich": "1"}


def test_conda_users_get_the_same_versions() -> None:
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    assert text == lock.conda_environment(), "run: python tools/lock.py --conda"
    python, _, pip = yaml.safe_load(text)["dependencies"]
    assert python == f"python{PROJECT['project']['requires-python']}"
    given = {canonicalize_name(Requirement(line).name) for line in pip["pip"] if not line.startswith("-e")}
    assert given == {canonicalize_name(asked.name) for asked in lock.direct_requirements()}


def test_versions_of_python_agree() -> None:
    supported = SpecifierSet(PROJECT["project"]["requires-python"])
    accepted = [f"3.{minor}" for minor in range(8, 20) if install.OLDEST <= (3, minor) <= install.NEWEST]
    assert accepted == [f"3.{minor}" for minor in range(8, 20) if f"3.{minor}" in supported]
    suitable = re.search(r"sys\.exit\(not (.*?) <= sys\.version_info\[:2\] <= (.*?)\)$", makefile(), re.M)
    assert suitable is not None
    assert suitable.groups() == (str(install.OLDEST), str(install.NEWEST))


def test_the_package_has_one_version() -> None:
    assert PROJECT["project"]["version"] == __version__


def test_this_environment_is_the_locked_one() -> None:
    locked = machine.locked_versions()
    assert locked["numpy"]
    different = machine.differences_from_lock()
    assert not different, f"run make environment: {different}"


def makefile() -> str:
    """Text of the Makefile."""
    return (ROOT / "Makefile").read_text(encoding="utf-8")


def make(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run make in the checkout."""
    # a make that runs the tests would pass its options on and have this one tell where it is
    ours = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL"}}
    return subprocess.run(
        ["make", *arguments],
        cwd=ROOT,
        env={**ours, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_lists_every_target() -> None:
    targets = re.findall(r"^([a-z-]+):", makefile(), re.M)
    phony = re.search(r"^\.PHONY: (.*)$", makefile(), re.M)
    assert phony is not None
    assert sorted(phony[1].split()) == sorted(targets)
    assert re.findall(r"^  make ([a-z-]+)", make().stdout, re.M) == targets


def test_continuous_integration_runs_make_test_and_nothing_else() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    commands = [line for line in script.read_text().splitlines() if line and not line.startswith("#")]
    assert commands[:2] == ["set -eu", 'cd "$(dirname "$0")/.."']
    assert commands[-1] == "exec make test"
    # what stands between may bring in a browser, and neither Python nor a test
    assert not [line for line in commands[2:-1] if re.search(r"\b(make|python3?|pip|pytest)\b", line)]


@pytest.mark.parametrize(
    ("workflow", "commands"),
    [("test", [".ci/run", "make test-backends"]), ("study", ["make study"]), ("pages", ["make book"])],
)
def test_workflows_call_what_users_call(workflow: str, commands: list[str]) -> None:
    text = (ROOT / ".github" / "workflows" / f"{workflow}.yml").read_text(encoding="utf-8")
    steps = [step for job in yaml.safe_load(text)["jobs"].values() for step in job["steps"]]
    assert [step["run"] for step in steps if "run" in step] == commands


def test_without_a_suitable_python_make_says_so() -> None:
    refused = make("environment", "PYTHON=")
    assert refused.returncode == 2
    assert "Python 3.11 to 3.13 is needed and none was found" in refused.stderr


def test_an_unsuitable_python_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 1))
    with pytest.raises(SystemExit, match=r"Python 3\.11 to 3\.13 is needed"):
        install.main()


def test_the_environment_is_made_again_only_for_a_reason(tmp_path: Path) -> None:
    environment = install.Environment(tmp_path)
    made_of = environment.made_of()
    assert set(made_of) == {"bootstrap.lock", "requirements.lock", "pyproject.toml", "Python", "folder"}
    assert environment.why_not() == "there is none yet"
    environment.python.parent.mkdir()
    environment.python.touch()
    assert environment.why_not() == "it was not completed, or not made by make"
    environment.stamp.write_text(json.dumps({"made_of": made_of}))
    assert environment.why_not() == ""
    environment.stamp.write_text(json.dumps({"made_of": made_of | {"requirements.lock": "x"}}))
    assert environment.why_not() == "requirements.lock changed"


def test_pips_index_settings_are_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    # documentation domains (RFC 2606); nothing is asked of them
    for name in install.FROM_PIP.values():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://a.example/simple https://b.example/simple")
    settings = install.index_settings(sys.executable)
    assert settings["UV_DEFAULT_INDEX"] == "https://mirror.example/simple"
    assert settings["UV_INDEX"] == "https://a.example/simple https://b.example/simple"
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://own.example/simple")
    assert "UV_DEFAULT_INDEX" not in install.index_settings(sys.executable)
