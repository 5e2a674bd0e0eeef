"""The report of a verification: what passed, what failed, what cannot be compared, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, get_args

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from radtransfer import paths
from radtransfer.atomic import write_json
from radtransfer.errors import DataError
from radtransfer.report.numbers import first_complaint, load_json
from radtransfer.report.tables import Table
from radtransfer.study.comparison import Checked, State
from radtransfer.study.progress import duration

if TYPE_CHECKING:
    from pathlib import Path

    from radtransfer.study.progress import Reporter

Mode = Literal["from_predictions", "rerun"]

MODES: Final[dict[Mode, str]] = {
    "from_predictions": "statistics and figures computed again from the published predictions",
    "rerun": "the study executed again",
}

SHOWN: Final = 40
"""How much of what did not pass a terminal shows; the JSON file has all."""

MEASURES: Final = {
    "auc": "AUC",
    "accuracy": "Accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "f1": "F1",
}
"""By the end of a number's key."""


class RunsCompared(BaseModel):
    """Training runs of two executions of a study.

    Attributes
    ----------
    published, found : int
        Runs whose predictions are published, and new ones.
    same_spec : int
        Published runs of which there is a new one of the same name: same data, options and seed.
    same_predictions : int
        Those whose predictions have the same bits.
    same_execution : int
        Those that were not trained again: they took the published time to the last digit.
    largest_difference : float or None
        Largest difference of two scores among those of the same name; None without any.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    published: int
    found: int
    same_spec: int
    same_predictions: int
    same_execution: int = 0
    largest_difference: float | None

    def __str__(self) -> str:
        told = (
            f"Of {self.published} published training runs the compared study has {self.same_spec}, "
            f"{self.same_predictions} of them with the same bits"
        )
        if self.same_execution:
            told += (
                f", but {self.same_execution} of them are the published ones themselves, not trained again"
            )
        if self.same_predictions < self.same_spec:
            told += f"; scores differ by at most {self.largest_difference:.2g}"
        return told


class Verification(BaseModel):
    """What a verification found.

    Attributes
    ----------
    mode : {"from_predictions", "rerun"}
    profile : str
        Whose results were verified.
    results : str
        SHA-256 of the published checksums: names the publication.
    date : str
        Day, ISO 8601, UTC.
    seconds : float
        Wall-clock time of what was done; of a study that was executed, the sum over its notebooks, whenever
        they ran.
    machine : dict of str to str
        Differences from machine and versions of the publication, in words.
    kept : dict of str to str
        By notebook that was not executed again: why.
    runs : RunsCompared or None
        Of a study that was executed again.
    data_only : bool
        Whether words and pictures were left out.
    checks : tuple of Checked
        Every number and file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Mode
    profile: str
    results: str
    date: str
    seconds: float
    machine: dict[str, str]
    kept: dict[str, str]
    runs: RunsCompared | None = None
    data_only: bool = False
    checks: tuple[Checked, ...]

    @property
    def failures(self) -> tuple[Checked, ...]:
        """What is not as published. Something new is a failure only where nothing may be new."""
        wrong = {"failed", "missing"} | ({"new"} if self.mode == "from_predictions" else set())
        return tuple(check for check in self.checks if check.state in wrong)

    @property
    def passed(self) -> bool:
        """Whether nothing failed and nothing is missing."""
        return not self.failures

    def counts(self, kind: str = "number") -> dict[str, int]:
        """How many numbers, or files of a kind, came to each state; without those of which there are none."""
        states = [check.state for check in self.checks if check.kind == kind]
        return {state: states.count(state) for state in get_args(State) if state in states}

    def __str__(self) -> str:
        told = ", ".join(f"{count} {state}" for state, count in self.counts().items())
        n, wrong = len(self.checks), len(self.failures)
        files = n - sum(self.counts().values())
        verdict = "passed" if self.passed else f"FAILED in {wrong} of {n} checks"
        return f"{MODES[self.mode]}: {verdict}; numbers: {told or 'none'}; files checked: {files}"


def report_path(mode: Mode, *, for_book: bool = False) -> Path:
    """Where the last report of a mode lies: in the work folder, or where the book shows it."""
    folder = paths.book_dir() if for_book else paths.work_dir()
    return folder / "verification" / f"{mode}.json"


def save(report: Verification, path: Path) -> None:
    """Write a report as JSON, with its verdict first."""
    verdict = {"passed": report.passed, "numbers": report.counts()}
    write_json(path, verdict | report.model_dump(mode="json"))


def read(path: Path) -> Verification:
    """Read a report.

    Raises
    ------
    DataError
        If it is damaged.
    """
    content = load_json(path)
    try:
        told = {name: value for name, value in content.items() if name not in ("passed", "numbers")}
        return Verification.model_validate(told)
    except (AttributeError, ValidationError) as error:
        complaint = first_complaint(error) if isinstance(error, ValidationError) else "not a report"
        raise DataError(f"{path}: {complaint}", hint="radtransfer verify") from None


# --- tables ---

ORDER: Final[tuple[State, ...]] = ("failed", "missing", "new", "not comparable", "passed")
"""What a reader looks for first."""

OUTSIDE: Final = "Outside interval"
"""How many new estimates lie outside the published interval."""

COLUMNS: Final = ("Checked", "Identical", "Within tolerance", "Failed", "Not comparable", "Missing", "New")


def summary(report: Verification) -> pd.DataFrame:
    """Counts by notebook, of numbers and of files; and the notebooks that were not executed again."""
    rows: dict[tuple[str, str], dict[str, int]] = {}
    for check in report.checks:
        what = {"number": "numbers", "results": "published files"}.get(check.kind, "figures, tables, pages")
        _count(check, rows.setdefault((check.notebook or "all", what), dict.fromkeys(COLUMNS, 0)))
    table = [{"Notebook": notebook, "What": what, **counts} for (notebook, what), counts in rows.items()]
    table += [
        {"Notebook": notebook, "What": f"not executed again: {why}"} for notebook, why in report.kept.items()
    ]
    frame = pd.DataFrame(table, columns=["Notebook", "What", *COLUMNS])
    return frame.astype(dict.fromkeys(COLUMNS, "Int64"))


def _count(check: Checked, counts: dict[str, int]) -> None:
    passed = "Identical" if check.identical else "Within tolerance"
    counts["Checked"] += 1
    counts[passed if check.state == "passed" else check.state.capitalize()] += 1


def by_measure(report: Verification) -> pd.DataFrame:
    """Counts of numbers by what they measure: what ranks images, what rests on a threshold, what neither."""
    rows = {name: dict.fromkeys((*COLUMNS, OUTSIDE), 0) for name in (*MEASURES.values(), "Others")}
    for check in (check for check in report.checks if check.kind == "number"):
        counts = rows[MEASURES.get(check.name.rpartition(".")[2], "Others")]
        _count(check, counts)
        counts[OUTSIDE] += check.outside
    table = [{"Measure": name, **counts} for name, counts in rows.items()]
    return pd.DataFrame(table)[["Measure", "Checked", "Identical", "Within tolerance", "Failed", OUTSIDE]]


def every_check(report: Verification) -> pd.DataFrame:
    """Everything that was checked, what did not pass first."""
    checks = sorted(report.checks, key=lambda check: ORDER.index(check.state))
    columns = ["What", "State", "Why", "Published", "Found", "Tolerance"]
    rows = [
        (check.name, check.state, check.why, check.published, check.found, check.tolerance)
        for check in checks
    ]
    return pd.DataFrame(rows, columns=columns)


def exceptions(report: Verification) -> pd.DataFrame:
    """What did not pass, failures first."""
    return every_check(report).query("State != 'passed'")


def show(report: Verification, reporter: Reporter) -> None:
    """Print a report: counts, what did not pass, and the verdict."""
    table = summary(report)
    width = table["Notebook"].str.len().max()
    for row in table.to_dict(orient="records"):
        counts = [
            f"{row[name]} {name.lower()}" for name in COLUMNS[1:] if row[name] is not pd.NA and row[name]
        ]
        told = f": {', '.join(counts)}" if counts else ""
        reporter.line(f"{row['Notebook']:{width}}  {row['What']}{told}")
    failing = [check for check in report.checks if check.state != "passed"]
    failing.sort(key=lambda check: ORDER.index(check.state))
    for check in failing[:SHOWN]:
        values = [
            f"{name} {value}"
            for name in ("published", "found", "tolerance")
            if (value := getattr(check, name))
        ]
        told = f" ({'; '.join(values)})" if values else ""
        reporter.line(f"{check.state}: {check.name}, {check.why}{told}")
    if len(failing) > SHOWN:
        reporter.line(f"... and {len(failing) - SHOWN} more that did not pass")
    for name, words in report.machine.items():
        reporter.line(f"other {name}: {words}")
    if report.runs:
        reporter.line(str(report.runs))
    reporter.line(f"{report}; {duration(report.seconds)}")


def book_tables(mode: Mode, results: str) -> dict[str, tuple[Table, pd.DataFrame]]:
    """Tables of the book's page about a mode, whether or not it was ever verified that way.

    Parameters
    ----------
    mode : {"from_predictions", "rerun"}
    results : str
        Names the publication that the book shows; empty if it shows none.

    Returns
    -------
    dict of str to (Table, DataFrame)
        By name: the table, and the data behind it.
    """
    path = report_path(mode, for_book=True)
    done = MODES[mode].capitalize()
    if not path.is_file():
        frame = pd.DataFrame({"Verification": [done], "Verdict": ["none was made"]})
        table = Table.from_frame(frame, caption=f"{done}: no report of such a verification is kept.")
        parts = ("", "_measures", "_exceptions") if mode == "rerun" else ("", "_exceptions")
        return {f"verification_{mode}{part}": (table, frame) for part in parts}
    report = read(path)
    told = [f"{done}, {report.date}, in {duration(report.seconds)}."]
    if report.results != results:
        told.append("It is of another publication than this book shows.")
    wrong = len(report.failures)
    told.append(f"{wrong} check{'s' if wrong > 1 else ''} failed." if wrong else "Nothing failed.")
    if report.runs:
        told.append(f"{report.runs}.")
    differing = "; ".join(f"{name}: {words}" for name, words in report.machine.items())
    told.append(f"Other machine or versions: {differing}." if differing else "Same machine and versions.")
    counts, listed = summary(report), exceptions(report)
    if listed.empty:
        listed = pd.DataFrame([dict.fromkeys(listed.columns)])
    tables = {
        f"verification_{mode}": (Table.from_frame(counts, caption=" ".join(told)), counts),
        f"verification_{mode}_exceptions": (
            Table.from_frame(listed, caption=f"{done}: what did not pass. The CSV file has every check."),
            every_check(report),
        ),
    }
    if mode == "rerun":  # computed again from predictions all kinds of numbers have to be the same
        measures = by_measure(report)
        told_of = f"{done}: numbers by what they measure; how many lie outside their interval."
        tables["verification_rerun_measures"] = (Table.from_frame(measures, caption=told_of), measures)
    return tables
