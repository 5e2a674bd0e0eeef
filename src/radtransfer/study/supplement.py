"""New chapters on published results: executed now, published with what stands.

Training everything again takes hours, and on another machine every number that rests on a trained
network moves a little. A chapter that is added or done anew, and needs none of that, is executed on the
published records of the others and frozen beside them. What it is published with must be what it read:
curated data of the same digests, numbers of the same digits, code and parameters as they were published.
Prose is taken over as it is now. Each publication says which notebooks were executed later, and where.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import yaml

from radtransfer import paths
from radtransfer.atomic import PARTIAL, write_json
from radtransfer.errors import DataError, InputError
from radtransfer.report.inputs import PREDICTED, PUBLISHED_RUNS, open_run
from radtransfer.report.numbers import Record, Registry, load_json
from radtransfer.study.driver import (
    INJECTED,
    check_study,
    execute,
    kernel_environment,
    study_lock,
    with_prose_of,
)
from radtransfer.study.frozen import (
    RECORDS,
    RUNS,
    SCORES,
    freeze_predictions,
    freeze_records,
    freeze_runs,
    read_records,
    thaw_runs,
)
from radtransfer.study.machine import environment
from radtransfer.study.profiles import NOTEBOOKS, check_parameters
from radtransfer.study.progress import Reporter, duration
from radtransfer.study.publish import (
    CHECKSUMS,
    anonymous,
    check_licences,
    check_private,
    check_size,
    clean_notebook,
    copy_file,
    freeze_cohorts,
    freeze_curation,
    swap,
    timing,
    trained_on,
    verify_results,
    write_checksums,
)
from radtransfer.study.tolerances import declare
from radtransfer.training.runs import RunRecord, RunStore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from radtransfer.study.profiles import Profile

DATA: Final = "01_data_curation"
"""The notebook that has to be run here, too: a chapter needs the images, and results hold none.

Others read of it which datasets there are; they stand while these are the same to the last bit.
"""


def supplement(name: str, notebooks: Sequence[str], *, reporter: Reporter | None = None) -> Path:
    """Execute some notebooks on published results and publish both.

    Parameters
    ----------
    name : str
        A profile that is marked ``publishable`` and was published before.
    notebooks : sequence of str
        What is executed: new notebooks, and all that read them.
    reporter : Reporter, optional
        Says what is done; standard output by default.

    Returns
    -------
    Path
        The results' folder, replaced in one move, or kept as it was if anything fails.

    Raises
    ------
    InputError
        If the profile may not be published, or a notebook that stands is not as it was published, reads
        one that is executed (but for the data), or was run otherwise in this work folder.
    DataError
        If the published results are damaged, or are not of the data at hand.
    StepError
        If a notebook fails.
    """
    reporter = reporter or Reporter()
    profile = check_study(name)
    if not profile.publishable:
        raise InputError(f"profile {name!r} is not publishable: {profile.description}")
    check_licences(profile)
    results = paths.results_dir()
    verify_results(results)
    published = {record.notebook: record for record in read_records(results)}
    chosen = [notebook for notebook in profile.notebooks if notebook in notebooks]
    _check_choice(profile, notebooks, published)
    kept = {name: record for name, record in published.items() if name not in chosen}
    _check_kept(profile, kept, results)
    with study_lock(profile):
        _lay_out(profile, kept, results)
        seconds = {}
        executed = []
        with kernel_environment(offline=profile.offline):
            for notebook in chosen:
                start = monotonic()
                with reporter.running(notebook, None) as last_line:
                    executed.append(
                        execute(name, NOTEBOOKS[notebook], profile.notebooks[notebook], last_line)
                    )
                seconds[notebook] = monotonic() - start
                reporter.line(f"done    {notebook} in {duration(seconds[notebook])}")
                if notebook == DATA:
                    _check_data(executed[-1], results)
        partial = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=results.parent))
        try:
            shutil.copytree(results, partial, dirs_exist_ok=True, ignore=shutil.ignore_patterns(CHECKSUMS))
            _replace(profile, partial, kept, published, executed, seconds)
            check_private(partial)
            check_size(partial)
            write_checksums(partial)
            partial.chmod(0o755)
            swap(partial, results)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return results


def _check_choice(profile: Profile, notebooks: Sequence[str], published: Mapping[str, Record]) -> None:
    for name in notebooks:
        if name not in profile.notebooks:
            raise InputError(f"profile {profile.name!r} does not run {name!r}")
    for name in profile.notebooks:
        if name in notebooks:
            continue
        if name not in published:
            raise InputError(f"{name} is not published", hint="name it, too")
        if later := [need for need in NOTEBOOKS[name].needs if need in notebooks and need != DATA]:
            raise InputError(f"{name} reads {later[0]}, which is executed anew", hint="name it, too")


def _check_kept(profile: Profile, kept: Mapping[str, Record], results: Path) -> None:
    """Refuse to leave standing what would not be published like this any more."""
    parameters = yaml.safe_load((results / "profile.yaml").read_text(encoding="utf-8"))["notebooks"]
    for name in kept:
        if check_parameters(NOTEBOOKS[name], parameters[name]) != profile.notebooks[name]:
            raise InputError(f"{name} was published with other parameters", hint="name it, too")
        old = json.loads((results / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))
        new = json.loads(NOTEBOOKS[name].path.read_text(encoding="utf-8"))
        if _code(old) != _code(new):
            raise InputError(f"the code of {name} is not what it was published with", hint="name it, too")


def _check_data(record: Record, results: Path) -> None:
    """Refuse data that are not those of the published chapters."""
    made = {
        task: load_json(paths.curated_dir() / folder / "curation.json")["digest"]
        for task, folder in record.datasets.items()
    }
    told = {path.stem: load_json(path)["digest"] for path in (results / "curation").glob("*.json")}
    if made != told:
        raise DataError(
            f"{DATA} makes other data than the published results are of",
            hint=f"radtransfer run and publish --profile {record.profile}",
        )


def _code(notebook: dict[str, Any]) -> list[str]:
    return [
        "".join(cell["source"])
        for cell in notebook["cells"]
        if cell["cell_type"] == "code" and INJECTED not in cell["metadata"].get("tags", [])
    ]


def _lay_out(profile: Profile, kept: Mapping[str, Record], results: Path) -> None:
    """Published records and predictions where notebooks look for them, beside the data they are of."""
    folder = paths.study_dir(profile.name) / "records"
    own = folder / f"{DATA}.json"
    if DATA in kept and not own.is_file():
        raise InputError(
            f"{DATA} was not run in {paths.work_dir()}",
            hint=f"radtransfer run --profile {profile.name} --only {DATA}",
        )
    for name, record in kept.items():
        path = folder / f"{name}.json"
        if path.is_file():
            here = Record.model_validate_json(path.read_bytes())
            if here.datasets != record.datasets or _digits(here) != _digits(record):
                raise DataError(
                    f"{path} is of another run than the published results",
                    hint="set RADTRANSFER_WORK to a folder where only the data were curated",
                )
        else:
            write_json(path, record.model_dump(mode="json"))
    target = paths.study_dir(profile.name) / PUBLISHED_RUNS
    shutil.rmtree(target, ignore_errors=True)
    thaw_runs(
        results,
        [run for name in PREDICTED if name in kept for run in kept[name].runs],
        RunStore(target),
    )


def _digits(record: Record) -> dict[str, tuple[Any, ...]]:
    """Numbers by key, without their tolerances, which publishing adds."""
    return {number.key: (number.value, number.low, number.high, number.p_value) for number in record.numbers}


def _replace(
    profile: Profile,
    folder: Path,
    kept: Mapping[str, Record],
    published: Mapping[str, Record],
    executed: Sequence[Record],
    seconds: Mapping[str, float],
) -> None:
    """Put what was executed in the place of what was published of the same notebooks."""
    study = paths.study_dir(profile.name)
    for name, record in published.items():
        if name not in kept:
            for kind, names in (("figures", record.figures), ("tables", record.tables)):
                for path in [path for each in names for path in (folder / kind).glob(f"{each}.*")]:
                    path.unlink()
    for record in executed:
        freeze_curation(record, folder)
        freeze_cohorts(record, folder)
        for kind, names in (("figures", record.figures), ("tables", record.tables)):
            for path in (path for each in names for path in sorted((study / kind).glob(f"{each}.*"))):
                copy_file(path, folder / kind / path.name)
        notebook = json.loads((study / "notebooks" / f"{record.notebook}.ipynb").read_text(encoding="utf-8"))
        write_json(folder / "notebooks" / f"{record.notebook}.ipynb", clean_notebook(notebook))
    for name in kept:  # its code is what it was published with
        path = folder / "notebooks" / f"{name}.ipynb"
        write_json(path, with_prose_of(NOTEBOOKS[name], json.loads(path.read_text(encoding="utf-8"))))
    records = {**kept, **{record.notebook: record for record in executed}}
    ordered = [records[name] for name in profile.notebooks]
    for target, notebooks in SCORES.items():
        if any(record.notebook in notebooks for record in executed):
            shutil.rmtree(folder / target, ignore_errors=True)
            runs = [run for record in ordered if record.notebook in notebooks for run in record.runs]
            freeze_predictions((open_run(study, run) for run in runs), folder / target)
    Registry({number.key: declare(number) for record in ordered for number in record.numbers}).write(
        folder / "numbers.json"
    )
    freeze_records(ordered, folder / RECORDS)
    before = {entry["run"]: entry for entry in load_json(folder / RUNS)["runs"]}
    known = dict.fromkeys(run for record in ordered for run in record.runs)
    new = [RunStore.open(paths.runs_dir() / run) for run in known if run not in before]
    _replace_runs(folder, list(known), before, new)
    copy_file(profile.path, folder / "profile.yaml")
    _replace_circumstances(folder, executed, new, seconds)


def _replace_runs(
    folder: Path, known: Sequence[str], before: Mapping[str, Any], new: Sequence[RunRecord]
) -> None:
    freeze_runs(new, folder / RUNS)
    entries = {**before, **{entry["run"]: entry for entry in load_json(folder / RUNS)["runs"]}}
    write_json(folder / RUNS, {"runs": [entries[run] for run in known]})


def _replace_circumstances(
    folder: Path, executed: Sequence[Record], new: Sequence[RunRecord], seconds: Mapping[str, float]
) -> None:
    """Add times, and the machine that supplied them."""
    times = load_json(folder / "timings.json")
    times["steps_s"] |= seconds
    times["runs"] += [timing(run) for run in new]
    write_json(folder / "timings.json", times)
    told = load_json(folder / "environment.json")
    told["training"] += anonymous(trained_on(new))
    names = [record.notebook for record in executed]
    earlier = [
        entry | {"notebooks": [name for name in entry["notebooks"] if name not in names]}
        for entry in told.get("supplements", [])
    ]
    told["supplements"] = [entry for entry in earlier if entry["notebooks"]] + [
        {"notebooks": names, "driver": anonymous(environment())}
    ]
    write_json(folder / "environment.json", told)
