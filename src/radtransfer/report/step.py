"""What a notebook records: numbers, figures and tables, each under a name the book refers to."""

from __future__ import annotations

import base64
import io
import re
import sys
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd
from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError

from radtransfer.atomic import atomic_file, write_json
from radtransfer.errors import InputError, StepError
from radtransfer.report.numbers import (
    NAME_PATTERN,
    Number,
    Record,
    Registry,
    Tolerance,
    first_complaint,
    load_json,
)
from radtransfer.report.tables import Table, plain_frame
from radtransfer.stats.result import Estimate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.figure import Figure as MatplotlibFigure

DPI = 150
PALETTE = 256


class _Spec(Protocol):
    @property
    def hash(self) -> str: ...


class _Run(Protocol):
    @property
    def spec(self) -> _Spec: ...


class _Dataset(Protocol):
    @property
    def task(self) -> str: ...
    @property
    def folder(self) -> Path: ...


def png_bytes(fig: MatplotlibFigure, dpi: int = DPI) -> bytes:
    """Small PNG of a figure: at most 256 colours, no metadata, so that equal figures are equal files.

    Parameters
    ----------
    fig : matplotlib Figure
        Cropped to its content.
    dpi : int
        Dots per inch.
    """
    drawn, small = io.BytesIO(), io.BytesIO()
    fig.savefig(drawn, format="png", dpi=dpi, bbox_inches="tight", pad_inches=0.08, facecolor="white")
    picture = Image.open(drawn).convert("RGB")
    picture.quantize(PALETTE, dither=Image.Dither.NONE).save(small, format="png", optimize=True)
    return small.getvalue()


class Figure(BaseModel):
    """A recorded figure.

    Attributes
    ----------
    name : str
        File name without suffix in ``figures/``.
    alt : str
        What a reader who cannot see the picture must know.
    caption : str
        Printed under the picture.
    width : int
        Display width in CSS pixels (the picture holds more, for sharp screens).
    png : bytes
        The picture; kept beside the description, not in it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    alt: str
    caption: str
    width: int
    png: bytes = b""

    def html(self, *, source: str, data: str) -> str:
        """``<figure>`` with picture, caption and a link to the data.

        Parameters
        ----------
        source, data : str
            Addresses of the picture and of the CSV file.
        """
        return (
            f'<figure class="rt-figure"><img src="{source}" alt="{escape(self.alt)}" width="{self.width}">\n'
            f"<figcaption>{escape(self.caption)} "
            f'<a class="rt-data" href="{data}">Data as CSV</a></figcaption></figure>'
        )

    def _repr_html_(self) -> str:
        # the picture travels inside the notebook
        source = f"data:image/png;base64,{base64.b64encode(self.png).decode()}"
        return self.html(source=source, data=f"../figures/{self.name}.csv")

    def __repr__(self) -> str:
        """One line; notebooks show the HTML."""
        return f"Figure {self.name}: {self.caption}"


def _plain(value: Any) -> int | float | str:
    """Turn numpy scalars into Python's own; booleans and everything else are refused."""
    value = value.item() if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 else value
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise InputError(f"a {type(value).__name__} is not a number or text", hint="record one value a key")
    return value


class Step:
    """Collects what one notebook finds out and saves it as the notebook's record.

    Parameters
    ----------
    notebook : str
        Name without suffix, for instance ``"04_evaluation"``.
    study_dir : str or Path
        Folder of the study's profile, ``work/study/<profile>``; its name is the profile's.

    Examples
    --------
    >>> step = Step("04_evaluation", study_dir=STUDY_DIR)                       # doctest: +SKIP
    >>> step.number("cv.pneumonia.vgg16_frozen.auc", estimate)                  # doctest: +SKIP
    cv.pneumonia.vgg16_frozen.auc = 0.890 (95 % CI 0.868 to 0.911)
    >>> step.save()                                                             # doctest: +SKIP
    """

    def __init__(self, notebook: str, *, study_dir: str | Path) -> None:
        self.notebook = notebook
        self.study_dir = Path(study_dir).resolve()
        self._numbers: dict[str, Number] = {}
        self._figures: list[str] = []
        self._tables: list[str] = []
        self._runs: dict[str, None] = {}
        self._datasets: dict[str, str] = {}

    def number(
        self,
        key: str,
        value: int | float | str | Estimate,
        *,
        digits: int = 3,
        unit: str = "",
        description: str = "",
        tolerance: Tolerance | None = None,
    ) -> Number:
        """Record one number.

        Parameters
        ----------
        key : str
            Dotted and lower-case, ``"cv.pneumonia.vgg16_frozen.auc"``.
        value : int, float, str or Estimate
            An estimate brings its interval, level, p-value, counts and method.
        digits : int
            Decimals shown of a float.
        unit : str
            Printed after the value; ``"p"`` marks a p-value.
        description : str
            What it is, in words; an estimate's name by default.
        tolerance : Tolerance, optional
            How far a recomputation may lie from it.

        Returns
        -------
        Number

        Raises
        ------
        InputError
            If the key is malformed or already has another value, or the value is not finite.
        """
        fields: dict[str, Any]
        if isinstance(value, Estimate):
            fields = {
                "value": value.estimate,
                "low": value.low,
                "high": value.high,
                "level": value.level if (value.low, value.high) != (None, None) else None,
                "p_value": value.p_value,
                "method": value.method,
                "n": value.n,
                "description": description or value.name,
            }
        else:
            fields = {"value": _plain(value), "description": description}
        try:
            number = Number(
                key=key, digits=digits, unit=unit, notebook=self.notebook, tolerance=tolerance, **fields
            )
        except ValidationError as error:
            raise InputError(f"number {key!r}: {first_complaint(error)}") from error
        if self._numbers.get(key, number) != number:
            raise InputError(f"{key} was recorded as {self._numbers[key].interval_text}, now {number}")
        self._numbers[key] = number
        return number

    def numbers(self, prefix: str, values: Mapping[str, Any] | pd.DataFrame, **options: Any) -> list[Number]:
        """Record many numbers under one prefix.

        Parameters
        ----------
        prefix : str
            Start of every key.
        values : mapping or DataFrame
            Names to values or to further mappings; a frame's key is ``prefix.<index>.<column>``
            and its missing cells are left out.
        **options
            Passed to `number`.

        Examples
        --------
        >>> step.numbers("cohort.pneumonia", {"n_images": 1000, "n_patients": 682})  # doctest: +SKIP
        """
        if isinstance(values, pd.DataFrame):
            values = {
                str(row): {str(name): value for name, value in cells.items() if not _missing(value)}
                for row, cells in values.to_dict(orient="index").items()
            }
        recorded: list[Number] = []
        for name, value in values.items():
            key = f"{prefix}.{name}"
            if isinstance(value, Mapping):
                recorded += self.numbers(key, value, **options)
            else:
                recorded.append(self.number(key, value, **options))
        return recorded

    def figure(
        self,
        name: str,
        fig: MatplotlibFigure,
        *,
        alt: str,
        caption: str,
        data: pd.DataFrame,
        dpi: int = DPI,
    ) -> Figure:
        """Record a figure with its text alternative and the data it shows.

        Parameters
        ----------
        name : str
            File name without suffix; unique in the study.
        fig : matplotlib Figure
            Closed afterwards, so that the notebook does not show it twice.
        alt : str
            What a reader who cannot see the picture must know.
        caption : str
            Printed under the picture.
        data : DataFrame
            What is drawn; offered for download as CSV.
        dpi : int
            Dots per inch; fewer for photographs, which do not compress.

        Returns
        -------
        Figure
            Shows itself in a notebook.
        """
        self._check_name("figure", name, self._figures)
        for label, text in (("alt", alt), ("caption", caption)):
            if not text.strip():
                raise InputError(f"figure {name!r} has no {label} text")
        png = png_bytes(fig, dpi)
        _forget(fig)
        with Image.open(io.BytesIO(png)) as picture:
            width = round(picture.width * 96 / dpi)
        figure = Figure(name=name, alt=alt, caption=caption, width=width, png=png)
        stem = self.study_dir / "figures" / name
        with atomic_file(stem.with_name(f"{name}.png")) as partial:
            partial.write_bytes(png)
        self._write_csv(stem.with_name(f"{name}.csv"), data)
        write_json(stem.with_name(f"{name}.json"), figure.model_dump(exclude={"png"}))
        self._figures.append(name)
        return figure

    def table(self, name: str, frame: pd.DataFrame, *, caption: str, digits: int = 3) -> Table:
        """Record a table.

        Parameters
        ----------
        name : str
            File name without suffix; unique in the study.
        frame : DataFrame
            Cells are `Estimate`, numbers, text or missing; column labels are shown as they are.
        caption : str
            What the table shows.
        digits : int
            Decimals of floats and estimates; the CSV file keeps them all.

        Returns
        -------
        Table
            Shows itself in a notebook.
        """
        self._check_name("table", name, self._tables)
        if not caption.strip():
            raise InputError(f"table {name!r} has no caption")
        table = Table.from_frame(frame, caption=caption, digits=digits, data=f"../tables/{name}.csv")
        folder = self.study_dir / "tables"
        self._write_csv(folder / f"{name}.csv", frame)
        write_json(folder / f"{name}.json", table.model_dump(mode="json"))
        self._tables.append(name)
        return table

    def runs(self, records: Iterable[_Run]) -> None:
        """Note training runs, so that later steps and the publication find their predictions."""
        self._runs.update((record.spec.hash, None) for record in records)

    def dataset(self, dataset: _Dataset) -> None:
        """Note a task's curated dataset, by the name of its folder; called once for each task."""
        if dataset.task in self._datasets:
            raise InputError(f"{self.notebook} already recorded a dataset for {dataset.task}")
        self._datasets[dataset.task] = dataset.folder.name

    def previous(self, notebook: str) -> dict[str, Any]:
        """Record of an earlier notebook of the same study folder.

        Returns
        -------
        dict
            With the keys of `Record`; numbers as a list of dictionaries.

        Raises
        ------
        StepError
            If that notebook has not been run.
        """
        path = self.study_dir / "records" / f"{notebook}.json"
        if not path.is_file():
            raise StepError(
                f"{self.notebook} needs the record of {notebook}, and {path} does not exist",
                hint=f"run {notebook} first; `radtransfer run` keeps the order",
            )
        record: dict[str, Any] = load_json(path)
        return record

    def registry(self) -> Registry:
        """Numbers recorded so far by this notebook."""
        return Registry(dict(self._numbers))

    def save(self) -> Path:
        """Write ``records/<notebook>.json``; the last cell of every notebook.

        Returns
        -------
        Path
            The record.
        """
        record = Record(
            notebook=self.notebook,
            profile=self.study_dir.name,
            numbers=tuple(self._numbers.values()),
            figures=tuple(self._figures),
            tables=tuple(self._tables),
            runs=tuple(self._runs),
            datasets=self._datasets,
        )
        path = self.study_dir / "records" / f"{self.notebook}.json"
        write_json(path, record.model_dump(mode="json"))
        return path

    def _check_name(self, kind: str, name: str, taken: list[str]) -> None:
        if not re.fullmatch(NAME_PATTERN, name):
            raise InputError(f"{kind} name {name!r}", hint="use lower-case letters, digits, _ and -")
        if name in taken:
            raise InputError(f"{self.notebook} already recorded a {kind} {name!r}", hint="names are unique")

    @staticmethod
    def _write_csv(path: Path, frame: pd.DataFrame) -> None:
        with atomic_file(path) as partial:
            plain_frame(frame).to_csv(partial, index=False, lineterminator="\n")


def _forget(fig: MatplotlibFigure) -> None:
    """Close a pyplot figure, lest the notebook shows it a second time; others know no pyplot."""
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close(fig)


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)
