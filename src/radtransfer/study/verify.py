"""Verification: are the published results what the study gives, on this machine, with this code?

Two ways. A profile is executed again, whole or without some notebooks, and every published number is
compared with the new one under its tolerance. Or statistics and figures are computed again from the
published predictions, which takes minutes, needs neither data nor GPU, and has to give the same digits.
"""

from __future__ import annotations

from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
import yaml

from radtransfer import paths
from radtransfer.atomic import write_json
from radtransfer.errors import DataError, InputError, RadtransferError, StepError
from radtransfer.hashing import sha256_file
from radtransfer.report.inputs import CURATION, PREDICTED
from radtransfer.report.numbers import Registry, load_json, load_records
from radtransfer.study.comparison import (
    Checked,
    Obstacles,
    compare_files,
    compare_notebook,
    compare_recomputed,
    compare_rerun,
)
from radtransfer.study.driver import StudyLog, find_step, run_study
from radtransfer.study.frozen import PREDICTIONS, RECORDS, RUNS, read_records
from radtransfer.study.machine import environment
from radtransfer.study.profiles import NOTEBOOKS, load_profile
from radtransfer.study.progress import Reporter
from radtransfer.study.publish import CHECKSUMS, clean_notebook, publication_name, verify_results
from radtransfer.study.recompute import recomputed
from radtransfer.study.verification import RunsCompared, Verification, report_path, save, show
from radtransfer.study.whole import check_steps
from radtransfer.training.runs import RunRecord, RunStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from radtransfer.report.numbers import Record
    from radtransfer.study.profiles import Profile

SAME_BITS: Final = ("python", "system", "machine", "cpu", "cores", "gpus", "variables", "packages")
"""What has to be the same of two machines for the same code to give the same bits."""


BUILT_ON: Final = (CURATION, *PREDICTED)
"""Notebooks of which others need more than a record."""


class VerificationError(RadtransferError):
    """Published results that are not what the study gives."""


def verify(
    profile: str,
    *,
    from_predictions: bool = False,
    executed: bool = False,
    without: Sequence[str] = (),
    data_only: bool = False,
    keep: bool = False,
    reporter: Reporter | None = None,
) -> Verification:
    """Verify the published results, write the report and show it.

    Parameters
    ----------
    profile : str
        Name of the profile; of no meaning from predictions.
    from_predictions : bool
        Compute statistics and figures again from the published predictions; nothing else is executed.
    executed : bool
        Compare what was executed before; nothing runs.
    without : sequence of str
        Numbers or names of notebooks that are not executed again.
    data_only : bool
        From predictions: compare numbers and the data of figures and tables, not words and pictures.
    keep : bool
        Keep the report where the book shows it, too.
    reporter : Reporter, optional
        Says what is done; standard output by default.

    Returns
    -------
    Verification
        Nothing in it failed.

    Raises
    ------
    VerificationError
        If anything failed or is missing; after the report was written and shown.
    InputError
        If options exclude each other.
    """
    if from_predictions and executed:
        raise InputError("--from-predictions and --executed exclude each other", hint="choose one")
    if from_predictions and without:
        raise InputError(
            "--without goes with an execution of the study", hint="from predictions no notebook trains"
        )
    if data_only and not from_predictions:
        raise InputError(
            "--data-only goes with --from-predictions", hint="an execution compares numbers alone"
        )
    reporter = reporter or Reporter()
    if from_predictions:
        report = verify_from_predictions(words=not data_only, reporter=reporter)
    else:
        report = verify_rerun(profile, executed=executed, without=without, reporter=reporter)
    written = [report_path(report.mode)] + ([report_path(report.mode, for_book=True)] if keep else [])
    for path in written:
        save(report, path)
    show(report, reporter)
    for path in written:
        reporter.line(f"report: {path}")
    if not report.passed:
        first, *others = report.failures
        more = f" and {len(others)} more" if others else ""
        raise VerificationError(
            f"the results are not what the study gives: {first.name} {first.state}, {first.why}{more}",
            hint=f"all in {written[0]}",
        )
    return report


def verify_from_predictions(*, words: bool = True, reporter: Reporter | None = None) -> Verification:
    """Compute statistics and figures again from the published predictions, and compare.

    Parameters
    ----------
    words : bool
        Whether words and pictures have to be the same, too, and not numbers and data alone: they change when
        the code words something otherwise, and no result does.
    reporter : Reporter, optional
        Says what is done; standard output by default.

    Returns
    -------
    Verification
        Also where the results are not what their checksums say.

    Raises
    ------
    DataError
        If there are no results, or they lack what the analyses need or contradict each other.
    """
    results = _results()
    start = monotonic()
    checks = _checksums(results)
    machine = machine_differences(results)
    with recomputed(results, reporter=reporter) as new:
        old_records = {record.notebook: record for record in read_records(results)}
        new_records = {record.notebook: record for record in load_records(new.study)}
        found = Registry.load(new.study).numbers
        wanted = set(new.notebooks)
        published = Registry.load(results).numbers
        checks += compare_recomputed(
            {key: number for key, number in published.items() if number.notebook in wanted},
            {key: number for key, number in found.items() if number.notebook in wanted},
            bitwise=not machine,
            words=words,
        )
        for name in new.notebooks:
            checks += compare_files(
                results,
                new.study,
                old_records[name],
                new_records[name],
                bitwise=not machine,
                words=words,
            )
            if not words:
                continue
            file = f"notebooks/{name}.ipynb"
            shown = (load_json(results / file), clean_notebook(load_json(new.study / file)))
            checks.append(compare_notebook(*shown, name, bitwise=not machine))
    return Verification(
        mode="from_predictions",
        data_only=not words,
        profile=next(iter(old_records.values())).profile,
        results=publication_name(results),
        date=_today(),
        seconds=round(monotonic() - start, 1),
        machine=machine,
        kept=new.kept,
        checks=tuple(checks),
    )


def verify_rerun(
    profile: str,
    *,
    executed: bool = False,
    without: Sequence[str] = (),
    reporter: Reporter | None = None,
) -> Verification:
    """Execute a profile and compare every published number with the new one.

    Parameters
    ----------
    profile : str
        Name of the profile that was published.
    executed : bool
        Compare what was executed before; nothing runs.
    without : sequence of str
        Numbers or names of notebooks that are not executed again: for those that build on them their
        published records stand, and what they recorded is not compared.
    reporter : Reporter, optional
        Says what is done; standard output by default.

    Returns
    -------
    Verification
        Steps whose result stands in the work folder are not executed twice.

    Raises
    ------
    DataError
        If there are no results.
    InputError
        If they are of another profile, or there is no such profile or notebook, or one to be left out was
        executed in this work folder.
    StepError
        If the profile was to have been executed before and was not, or only in part.
    """
    results = _results()
    chosen = load_profile(profile)
    _check_profile(results, profile)
    study = paths.study_dir(profile)
    if executed and not (study / "records").is_dir():
        raise StepError(f"profile {profile!r} was not executed in {study}", hint="leave --executed out")
    taken = _take(results, chosen, without)
    if not executed:
        run_study(profile, taken=taken, reporter=reporter)
    check_steps(profile, taken)
    records = [record for record in load_records(study) if record.notebook not in taken]
    runs = [RunStore.open(paths.runs_dir() / run) for run in _runs(records)]
    obstacles = Obstacles(
        parameters=parameter_differences(results / "profile.yaml", study / "profile.yaml"),
        weights=_other_weights(results, runs),
        models=frozenset(run.spec.model for run in runs),
    )
    checks = _checksums(results)
    published, found = (
        {key: number for key, number in Registry.load(folder).numbers.items() if number.notebook not in taken}
        for folder in (results, study)
    )
    checks += compare_rerun(published, found, obstacles)
    return Verification(
        mode="rerun",
        profile=profile,
        results=publication_name(results),
        date=_today(),
        seconds=round(sum(entry.seconds for entry in StudyLog.read(chosen).steps.values()), 1),
        machine=machine_differences(results, load_json(study / "environment.json")),
        kept=dict.fromkeys(taken, "it was left out"),
        runs=_compare_runs(results, runs),
        checks=tuple(checks),
    )


def _take(results: Path, profile: Profile, without: Sequence[str]) -> dict[str, str]:
    """Lay out the published records of notebooks that are not executed; their digests by notebook."""
    names = [find_step(profile, wanted) for wanted in without]
    if needed := [name for name in names if name in BUILT_ON]:
        raise InputError(
            f"{needed[0]} cannot be left out: others need the images, predictions or networks that it makes",
            hint="--from-predictions trains nothing",
        )
    log = StudyLog.read(profile)
    if executed := [name for name in names if name in log.steps]:
        raise InputError(
            f"{executed[0]} was executed in {paths.study_dir(profile.name)}",
            hint="compare it, too, or set RADTRANSFER_WORK to another folder",
        )
    published = {record.notebook: record for record in read_records(results)} if names else {}
    taken = {}
    for name in names:
        if name not in published:
            raise InputError(f"{results / RECORDS} has no record of {name}", hint="leave --without out")
        path = paths.study_dir(profile.name) / "records" / f"{name}.json"
        write_json(path, published[name].model_dump(mode="json"))
        taken[name] = sha256_file(path)
    return taken


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def _results() -> Path:
    folder = paths.results_dir()
    if not folder.is_dir():
        raise DataError(f"there are no published results in {folder}", hint="radtransfer publish")
    return folder


def _check_profile(results: Path, profile: str) -> None:
    if not (results / RECORDS).is_file():
        return  # older results do not tell
    published = read_records(results)[0].profile
    if published != profile:
        raise InputError(
            f"the published results are those of profile {published!r}, not of {profile!r}",
            hint=f"radtransfer verify --profile {published}",
        )


def _runs(records: Iterable[Record]) -> list[str]:
    return list(dict.fromkeys(run for record in records for run in record.runs))


def _checksums(results: Path) -> list[Checked]:
    """Whether every published file is the one that was published, as far as checksums tell."""
    try:
        verify_results(results)
    except DataError as error:
        why = error.message.replace(f"{results}/", "")  # a report that the book shows names no folder
        return [Checked(kind="results", name=CHECKSUMS, state="failed", why=why)]
    why = "every file has its published checksum"
    return [Checked(kind="results", name=CHECKSUMS, state="passed", identical=True, why=why)]


def machine_differences(results: Path, now: Mapping[str, Any] | None = None) -> dict[str, str]:
    """In what a machine and its versions differ from those that published.

    Parameters
    ----------
    results : Path
        Published results.
    now : mapping, optional
        The other environment; this machine's by default.

    Returns
    -------
    dict of str to str
        By property, in words; empty if the same code gives the same bits on both.
    """
    now = environment() if now is None else now
    then = load_json(results / "environment.json")["driver"]
    found = {}
    for name in SAME_BITS:
        one, other = then.get(name), now.get(name)
        if isinstance(one, dict) and isinstance(other, dict):
            changed = [key for key in sorted({*one, *other}) if one.get(key) != other.get(key)]
            words = [f"{key} {one.get(key) or 'none'} -> {other.get(key) or 'none'}" for key in changed]
            told = ", ".join(words[:5]) + (f" and {len(words) - 5} more" if len(words) > 5 else "")
        else:
            told = "" if one == other else f"{_plain(one)} -> {_plain(other)}"
        if told:
            found[name] = told
    return found


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def parameter_differences(published: Path, found: Path) -> dict[str, str]:
    """Notebooks that were executed with other parameters, or build on one that was.

    Parameters
    ----------
    published, found : Path
        Profiles.

    Returns
    -------
    dict of str to str
        Which parameters, by notebook.
    """
    one, other = (
        yaml.safe_load(path.read_text(encoding="utf-8"))["notebooks"] for path in (published, found)
    )
    differing: dict[str, str] = {}
    for name, notebook in NOTEBOOKS.items():  # each comes after those it needs
        old, new = one.get(name), other.get(name)
        if old is not None and new is not None and old != new:
            names = [key for key in {**old, **new} if old.get(key) != new.get(key)]
            differing[name] = f"{name}: {', '.join(names)}"
        elif inherited := [differing[need] for need in notebook.needs if need in differing]:
            differing[name] = inherited[0]
    return differing


def _published_weights(results: Path) -> dict[tuple[str, str], tuple[str, str]]:
    """What the runs of each model started from, by task and model: kind and digest."""
    if (results / RUNS).is_file():
        specs = [entry["spec"] for entry in load_json(results / RUNS)["runs"]]
        return {(spec["task"], spec["model"]): (spec["weights"], spec["weights_digest"]) for spec in specs}
    # older results tell the kind alone
    return {
        (str(row.task), str(row.model)): (str(row.weights), "")
        for table in _published_predictions(results)
        for row in table[["task", "model", "weights"]].drop_duplicates().itertuples()
    }


def _published_predictions(results: Path) -> list[pd.DataFrame]:
    return [pd.read_parquet(path) for path in sorted((results / PREDICTIONS).glob("*.parquet"))]


def _other_weights(results: Path, runs: Iterable[RunRecord]) -> dict[str, str]:
    """By model: what it started from, where that is not what the published one started from."""
    published = _published_weights(results)
    found = {}
    for run in runs:
        spec = run.spec
        then = published.get((spec.task, spec.model), (spec.weights, spec.weights_digest))
        if then[0] != spec.weights or (then[1] and then[1] != spec.weights_digest):
            now = spec.weights if then[0] != spec.weights else f"others of the kind {spec.weights}"
            found[spec.model] = f"{spec.model} started from {now}, the published one from {then[0]}"
    return found


def _compare_runs(results: Path, runs: Iterable[RunRecord]) -> RunsCompared:
    """How many training runs gave the published predictions bit for bit."""
    new = {run.spec.hash: run for run in runs}
    published = {
        str(name): rows
        for table in _published_predictions(results)
        for name, rows in table.groupby("run", sort=False, observed=True)
    }
    keys = ["image_id", "part", "target"]
    times = {entry.get("run"): entry for entry in load_json(results / "timings.json")["runs"]}
    same, kept, largest = 0, 0, 0.0
    both = [name for name in published if name in new]
    for name in both:
        old = published[name].astype(dict.fromkeys(keys, "str"))
        pair = old.merge(new[name].predictions(), on=keys, how="outer", suffixes=("", "_new"))
        difference = (pair["score"] - pair["score_new"]).abs()
        same += bool((difference == 0).all())
        took = new[name].timings.items()
        kept += bool(took) and name in times and took <= times[name].items()
        largest = max(largest, float(difference.fillna(1.0).max()))
    return RunsCompared(
        published=len(published),
        found=len(new),
        same_spec=len(both),
        same_predictions=same,
        same_execution=kept,
        largest_difference=largest if both else None,
    )
