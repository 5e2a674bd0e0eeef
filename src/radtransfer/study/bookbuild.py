"""The book: recorded results and prose become checked HTML, without executing anything."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from radtransfer import paths
from radtransfer.atomic import PARTIAL, write_json, write_text
from radtransfer.errors import InputError, RadtransferError
from radtransfer.report.book_extension import EXECUTED
from radtransfer.report.numbers import Registry
from radtransfer.study.bookchecks import Finding, check_html, lint_prose
from radtransfer.study.frozen import RECORDS, RUNS, read_records
from radtransfer.study.profiles import load_profile
from radtransfer.study.publish import gather_evidence, publication_name
from radtransfer.study.verification import MODES, book_tables

PUBLISHED = "published"

EVIDENCE = (RUNS, RECORDS, "environment.json", "timings.json", "profile.yaml")
"""Files of the results from which appendices are generated, beside numbers, tables and curations."""

LAUNCH = {
    "notebook_interface": "jupyterlab",
    "binderhub_url": "https://mybinder.org",  # installs environment.yml
    "colab_url": "https://colab.research.google.com",
}

REPOSITORY = "RADTRANSFER_REPOSITORY"
"""Variable with the address of a public repository; notebook pages then offer to run there."""

BANNER = "This build shows profile <b>{profile}</b> on synthetic phantoms: no result of the study."


class BookError(RadtransferError):
    """A book that could not be built, or whose pages have faults.

    Parameters
    ----------
    message : str
        What failed.
    findings : list of Finding
        The faults, by page; listed under the message.
    """

    def __init__(self, message: str, findings: list[Finding]) -> None:
        self.findings = findings
        super().__init__("\n  ".join([message, *map(str, findings)]))


@dataclass(frozen=True)
class BookSource:
    """Where the content of a book comes from.

    Attributes
    ----------
    name : str
        Name of the folder under ``work/book``.
    results : Path
        Holds ``notebooks/``, ``figures/``, ``tables/`` and the numbers.
    publishable : bool
        Whether the results may be taken for the study's.
    """

    name: str
    results: Path
    publishable: bool

    @classmethod
    def of(cls, profile: str | None) -> BookSource:
        """Results of a profile's last run; the frozen ones for None, or where there is no run.

        Raises
        ------
        InputError
            If nothing was run or published, or no such profile exists.
        """
        if profile is not None:
            chosen = load_profile(profile)
            run = paths.study_dir(chosen.name)
            if (run / "records").is_dir():
                return cls(chosen.name, run, chosen.publishable)
            if chosen.name != PUBLISHED:
                raise InputError(
                    f"profile {chosen.name!r} has not been run", hint=f"make study PROFILE={chosen.name}"
                )
        if not paths.results_dir().is_dir():
            raise InputError(
                f"there are no published results in {paths.results_dir()}",
                hint="run `make study` for a book on phantoms",
            )
        return cls(PUBLISHED, paths.results_dir(), True)


def build_book(profile: str | None = None) -> Path:
    """Build the book and check it.

    A book with a fault is not published: the one built before stays where it is.

    Parameters
    ----------
    profile : str, optional
        Whose results to show. None stands for the frozen results of the checkout, and so does
        ``"published"`` where that profile was not run on this machine.

    Returns
    -------
    Path
        Folder of the HTML, ``work/book/<profile>/html``.

    Raises
    ------
    BookError
        With every warning and every fault of a page, each with page and line.
    InputError
        If there are no results to show.
    """
    if findings := lint_prose(paths.project_root()):
        raise BookError("results chapters hold typed digits; refer to numbers by key, {num}`...`", findings)
    source = BookSource.of(profile)
    folder = paths.work_dir() / "book" / source.name
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=folder) as scratch:
        stage = Path(scratch) / "src"
        _stage(source, stage)
        html = _render(stage, Path(scratch))
        if findings := check_html(html):
            raise BookError("the book has faults", findings)
        return _replace(folder / "html", html)


def _stage(source: BookSource, stage: Path) -> None:
    """Lay out prose, executed notebooks and results as the book's configuration expects them."""
    root = paths.project_root()
    shutil.copytree(paths.book_dir(), stage / "book")
    shutil.copy(root / "_toc.yml", stage)
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    if not source.publishable:
        theme = config["sphinx"]["config"]["html_theme_options"]
        theme["announcement"] = BANNER.format(profile=source.name)
    if repository := os.environ.get(REPOSITORY):
        config["repository"] = {"url": repository, "branch": "main"}
        config["launch_buttons"] = LAUNCH
    (stage / "_config.yml").write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")

    (stage / "notebooks").mkdir()
    for path in sorted((source.results / "notebooks").glob("*.ipynb")):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        _fold_code(notebook)
        (stage / "notebooks" / path.name).write_text(json.dumps(notebook), encoding="utf-8")
    for kind in ("figures", "tables"):
        for folder in (stage / kind, stage / "_extra" / kind):
            folder.mkdir(parents=True)
            if (source.results / kind).is_dir():
                shutil.copytree(source.results / kind, folder, dirs_exist_ok=True)
    _stage_verification(source, stage)
    Registry.load(source.results).write(stage / "numbers.json")
    _stage_evidence(source, stage)
    _stage_executed(source, stage / "_extra" / EXECUTED)


def _stage_evidence(source: BookSource, stage: Path) -> None:
    """Lay out what appendices are generated from; of a run it is gathered as a publication would."""
    if source.results != paths.results_dir():
        gather_evidence(load_profile(source.name), stage)
        return
    for name in EVIDENCE:
        if (source.results / name).is_file():
            shutil.copy(source.results / name, stage)
    if (source.results / "curation").is_dir():
        shutil.copytree(source.results / "curation", stage / "curation")


def _stage_executed(source: BookSource, folder: Path) -> None:
    """Lay out what a reader may take of each step: executed notebook, parameters and record, as they are."""
    stage = folder.parents[1]
    profile = yaml.safe_load((stage / "profile.yaml").read_text(encoding="utf-8"))
    folder.mkdir()
    records = {record.notebook: record for record in read_records(stage)}
    for path in sorted((source.results / "notebooks").glob("*.ipynb")):
        name = path.stem
        shutil.copy(path, folder)
        parameters = yaml.safe_dump(profile["notebooks"][name], sort_keys=False, allow_unicode=True)
        write_text(folder / f"{name}.parameters.yaml", parameters)
        write_json(folder / f"{name}.record.json", records[name].model_dump(mode="json"))


def _stage_verification(source: BookSource, stage: Path) -> None:
    """Lay out the kept reports of verification as tables, or say that there is none."""
    for mode in MODES:
        for name, (table, data) in book_tables(mode, publication_name(source.results)).items():
            write_json(stage / "tables" / f"{name}.json", table.model_dump(mode="json"))
            data.to_csv(stage / "_extra" / "tables" / f"{name}.csv", index=False)


def _fold_code(notebook: dict[str, Any]) -> None:
    """Hide code behind a toggle, and with it what a cell merely printed on the way."""
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            shows = any(output["output_type"] != "stream" for output in cell["outputs"])
            tags = cell["metadata"].setdefault("tags", [])
            tags.append("hide-input" if shows else "hide-cell")


def _render(stage: Path, scratch: Path) -> Path:
    """Run jupyter-book, warnings fatal."""
    # this interpreter's jupyter-book, wherever PATH points; the package cannot be run by name
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", str(stage)]
    command += ["--path-output", str(scratch), "-W", "-n", "--keep-going", "-q"]
    run = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "NO_COLOR": "1"}
    )
    html = scratch / "_build" / "html"
    findings = _warnings(run.stderr, stage)
    if run.returncode or findings or not (html / "index.html").is_file():
        tail = "\n".join((run.stdout + run.stderr).strip().splitlines()[-20:])
        raise BookError("the book was not built", findings or [Finding("jupyter-book", tail)])
    return html


_WARNING = re.compile(
    r"^(?:(?P<place>\S[^:\n]*?)(?::(?P<line>\d+))?: )?(?:WARNING|ERROR|CRITICAL|SEVERE): (?P<text>.+)$", re.M
)


def _warnings(log: str, stage: Path) -> list[Finding]:
    """Warnings of the build, with the page as the checkout names it."""
    log = re.sub(r"\x1b\[[\d;]*m", "", log)
    findings = []
    for match in _WARNING.finditer(log):
        page = (match["place"] or "book").removeprefix(f"{stage}{os.sep}")
        if match["line"]:
            line = int(match["line"])
            if page.endswith(".ipynb"):
                # myst-nb counts cells in steps of 10,000 lines, and the first line of a cell as 1
                # more than in a page
                page += f" cell {line // 10_000}, line {line % 10_000 - 1}"
            else:
                page += f":{line}"
        findings.append(Finding(page, match["text"]))
    return list(dict.fromkeys(findings))


def _replace(target: Path, new: Path) -> Path:
    """Put a finished folder in the place of an older one."""
    if target.exists():
        # a folder cannot be renamed over a full one; the old one goes with the scratch folder
        target.rename(new.parent / "previous")
    new.rename(target)
    return target
