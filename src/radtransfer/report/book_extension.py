"""Sphinx extension of the book: numbers by key, recorded tables and figures, mathematics without scripts.

Roles and directives (in MyST)::

    {num}`cv.pneumonia.vgg16_frozen.auc`            0.890
    {num}`cv.pneumonia.vgg16_frozen.auc|interval`   0.890 (95 % CI 0.868 to 0.911)
    {num}`cv.pneumonia.vgg16_frozen.auc|n.images`   1,000

    :::{numbers-table} cv.pneumonia.{model}.{metric}
    :caption: Cross-validated performance, with 95 % intervals
    model:
      metadata: Age, sex and view only
      vgg16_frozen: VGG16, frozen
    metric: {auc: AUC, accuracy: Accuracy}
    :::

    :::{study-table} performance
    :::
    :::{study-figure} roc_curves
    :::

    <!-- appendix: datasheets -->

A key, table or figure that was not recorded is a warning that names the nearest one; a recorded
number that no page shows is a warning at the end of the build. The book is built with warnings fatal.
"""

from __future__ import annotations

import json
import re
from difflib import get_close_matches
from functools import cached_property
from html import escape
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING, Any, ClassVar

import yaml
from docutils import nodes
from docutils.parsers.rst import directives
from docutils.utils.math import MathError, latex2mathml
from pydantic import ValidationError
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole
from sphinx.util.math import get_node_equation_number

from radtransfer import __version__, paths
from radtransfer.errors import RadtransferError
from radtransfer.evaluation.performance import METRICS
from radtransfer.report.appendices import Evidence, fill
from radtransfer.report.labels import model_label, task_label
from radtransfer.report.numbers import FORMS, Number, Registry
from radtransfer.report.step import Figure
from radtransfer.report.tables import ABSENT, Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment
    from sphinx.util.typing import ExtensionMetadata
    from sphinx.writers.html5 import HTML5Translator

logger = logging.getLogger(__name__)

EXECUTED = "executed"
"""Folder of the book with what each notebook's page offers."""

_OFFERED = {
    ".ipynb": "Executed notebook",
    ".parameters.yaml": "its parameters",
    ".record.json": "its record",
}

_SCROLLS = {"role": "group", "aria-label": "Formula", "tabindex": "0"}
"""Of what is wider than a phone: the keyboard must reach it to scroll it."""

_FOR_THE_EAR = {
    # docutils marks a bibliography with a deprecated role, and its list then has no items
    'role="doc-biblioentry"': 'role="listitem"',
    # boxes of a checklist that is ticked on paper; the words of the item follow
    'class="task-list-item-checkbox"': 'class="task-list-item-checkbox" aria-label="To do"',
    # the theme lets wide tables scroll, but not by keyboard
    'class="pst-scrollable-table-container"': (
        'class="pst-scrollable-table-container" role="group" aria-label="Table" tabindex="0"'
    ),
}
"""What docutils, MyST and the theme write, and what a screen reader understands."""

_REFERENCES = """## References

```{bibliography}
:filter: docname in docnames
:list: bullet
```"""
"""End of a page. A list with bullets is no target of citations, so that no key stands for two places."""

NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"


class Results:
    """Recorded results of a build, and which page shows which number.

    Parameters
    ----------
    folder : Path
        Holds ``numbers.json`` or ``records/``, and ``tables/`` and ``figures/``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.registry = Registry.load(folder)

    @staticmethod
    def of(env: BuildEnvironment) -> Results:
        """Results of a build."""
        results: Results = env.app.radtransfer_results  # type: ignore[attr-defined]
        return results

    @staticmethod
    def shown(env: BuildEnvironment) -> dict[str, set[str]]:
        """Keys shown, by page; kept with the environment, like everything a page contributes."""
        if not hasattr(env, "radtransfer_shown"):
            env.radtransfer_shown = {}  # type: ignore[attr-defined]
        shown: dict[str, set[str]] = env.radtransfer_shown  # type: ignore[attr-defined]
        return shown

    @cached_property
    def published(self) -> frozenset[str]:
        """Keys of the published results, for which the prose is written."""
        folder = paths.results_dir()
        return frozenset(Registry.load(folder) if (folder / "numbers.json").is_file() else ())

    def lacks(self, key: str) -> bool:
        """Whether a number is published that this smaller run has not; a misspelt key is in neither."""
        return key not in self.registry and key in self.published

    def number(self, key: str, env: BuildEnvironment) -> Number:
        """Number of a key, noted as shown on the current page.

        Raises
        ------
        InputError
            If no such number is recorded.
        """
        number = self.registry.get(key)
        self.shown(env).setdefault(env.docname, set()).add(key)
        return number


def _unbroken(text: str) -> str:
    """Keep a number on one line with its unit."""
    return text.replace(" %", f"{NO_BREAK_SPACE}%")


class number_node(nodes.inline):  # noqa: N801 - docutils names nodes so
    """A number in running text, with its exact value and origin for whoever asks."""


def _visit_number(translator: HTML5Translator, node: number_node) -> None:
    value, title = escape(node["value"]), escape(node["title"])
    translator.body.append(f'<data class="rt-number" value="{value}" title="{title}">')


def _depart_number(translator: HTML5Translator, node: number_node) -> None:
    translator.body.append("</data>")


def _plain_number(translator: Any, node: number_node) -> None:
    """Other writers print the text."""


class NumberRole(SphinxRole):
    """``{num}`key``` or ``{num}`key|form```, see `FORMS`.

    A number that the published study has and this run has not leaves a dash.
    """

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Replace the key by the number's text."""
        key, _, form = (part.strip() for part in self.text.partition("|"))
        if Results.of(self.env).lacks(key):
            return [nodes.inline("", ABSENT)], []
        try:
            number = Results.of(self.env).number(key, self.env)
            text = number.show(form or FORMS[0])
        except RadtransferError as error:
            logger.warning(str(error), location=self.get_location(), type="radtransfer", subtype="number")
            return [nodes.problematic(self.rawtext, f"[{self.text}]")], []
        origin = [number.key, number.description, number.method, f"recorded by {number.notebook}"]
        node = number_node("", _unbroken(text))
        node["value"], node["title"] = str(number.value), "; ".join(part for part in origin if part)
        return [node], []


class _StudyDirective(SphinxDirective):
    """Base: refers to something recorded, warns where it is used if it is not."""

    def raw(self, html: str) -> list[nodes.Node]:
        return [nodes.raw("", html, format="html")]

    def warn(self, message: str) -> list[nodes.Node]:
        logger.warning(message, location=self.get_location(), type="radtransfer", subtype=self.name)
        return []

    @property
    def root(self) -> str:
        """Address of the book's root, relative to the current page."""
        return "../" * self.env.docname.count("/")

    def recorded(self, kind: str, name: str) -> Path:
        """Description of a recorded table or figure.

        Raises
        ------
        LookupError
            If there is none, naming the nearest.
        """
        path = Results.of(self.env).folder / f"{kind}s" / f"{name}.json"
        if not path.is_file():
            near = get_close_matches(name, [other.stem for other in path.parent.glob("*.json")], n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise LookupError(f"no {kind} {name!r} is recorded{hint}")
        self.env.note_dependency(str(path))
        return path


class StudyTable(_StudyDirective):
    """Show a table that a notebook recorded."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Read the formatted table and point its link at the CSV file."""
        name = self.arguments[0]
        try:
            table = Table.model_validate_json(self.recorded("table", name).read_text(encoding="utf-8"))
        except (LookupError, ValidationError) as error:
            return self.warn(str(error))
        return self.raw(table.model_copy(update={"data": f"{self.root}tables/{name}.csv"}).html())


class StudyFigure(_StudyDirective):
    """Show a figure that a notebook recorded, with its text alternative and caption."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Point at the picture and its data."""
        name = self.arguments[0]
        try:
            figure = Figure.model_validate_json(self.recorded("figure", name).read_text(encoding="utf-8"))
        except (LookupError, ValidationError) as error:
            return self.warn(str(error))
        folder = f"{self.root}figures/{name}"
        return self.raw(figure.html(source=f"{folder}.png", data=f"{folder}.csv"))


class NumbersTable(_StudyDirective):
    """Table of numbers whose keys follow a pattern with two placeholders: rows, then columns.

    The body may name, for either placeholder, the parts to show and their labels; left out,
    all recorded parts are shown. With ``:sparse:`` a number that was not recorded leaves a
    dash, otherwise it is a warning. With ``:each: task`` the pattern has a third placeholder, and every
    recorded part of it has a table of its own, its name before the caption. With ``:transpose:`` the first
    placeholder makes the columns.
    """

    required_arguments = 1
    has_content = True
    option_spec: ClassVar[dict[str, Any]] = {
        "caption": directives.unchanged_required,
        "corner": directives.unchanged,
        "form": directives.unchanged,
        "sparse": directives.flag,
        "transpose": directives.flag,
        "each": directives.unchanged_required,
    }

    def run(self) -> list[nodes.Node]:
        """Collect the cells by key."""
        if "each" not in self.options:
            return self._table(self.arguments[0], "")
        whole, name = self.arguments[0], self.options["each"]
        if f"{{{name}}}" not in whole:
            return self.warn(f"numbers-table: {whole} has no placeholder {name!r}")
        try:
            several = self._labels(whole, name, None)
        except ValueError as error:
            return self.warn(f"numbers-table: {error}")
        tables = (
            self._table(whole.replace(f"{{{name}}}", part), f"{label}. ") for part, label in several.items()
        )
        return [node for table in tables for node in table]

    def _table(self, pattern: str, before_caption: str) -> list[nodes.Node]:
        placeholders = [name for _, name, _, _ in Formatter().parse(pattern) if name]
        if len(placeholders) != 2 or len(set(placeholders)) != 2 or not self.options.get("caption"):
            return self.warn("numbers-table needs a :caption: and a pattern with two {placeholders}")
        try:
            given = yaml.safe_load("\n".join(self.content)) or {}
            labels = [self._labels(pattern, name, given.pop(name, None)) for name in placeholders]
            if given:
                raise ValueError(f"{pattern} has no placeholder {next(iter(given))!r}")
        except (yaml.YAMLError, AttributeError, ValueError) as error:
            return self.warn(f"numbers-table: {error}")
        if "transpose" in self.options:
            placeholders, labels = placeholders[::-1], labels[::-1]
        (row_name, column_name), (rows, columns) = placeholders, labels
        cells = {
            row: [self._cell(pattern.format(**{row_name: row, column_name: column})) for column in columns]
            for row in rows
        }
        table = Table(
            caption=before_caption + self.options["caption"],
            columns=(self.options.get("corner", row_name.capitalize()), *columns.values()),
            rows=tuple((rows[row], *texts) for row, texts in cells.items() if set(texts) != {ABSENT}),
            numeric=(False, *(True for _ in columns)),
        )
        return self.raw(table.html())

    def _labels(self, pattern: str, placeholder: str, given: dict[str, str] | None) -> dict[str, str]:
        if given is not None:
            return {str(part): str(label) for part, label in given.items()}
        found = list(dict.fromkeys(_parts(pattern, placeholder, Results.of(self.env).registry)))
        if not found:
            raise ValueError(f"no recorded key matches {pattern}")
        return {part: METRICS.get(part) or task_label(model_label(part)) for part in found}

    def _cell(self, key: str) -> str:
        results = Results.of(self.env)
        if results.lacks(key) or ("sparse" in self.options and key not in results.registry):
            return ABSENT
        form = self.options.get("form", "interval")
        try:
            number = results.number(key, self.env)
            # the caption tells what the limits are, once for all cells
            return _unbroken(number.cell_text if form == "interval" else number.show(form))
        except RadtransferError as error:
            self.warn(str(error))
            return ABSENT


def _parts(pattern: str, placeholder: str, keys: Iterable[str]) -> Iterator[str]:
    """What stands for a placeholder in the keys that match a pattern."""
    expression = "".join(
        re.escape(text) + (f"(?P<{name}>[^.]+)" if name else "")
        for text, name, _, _ in Formatter().parse(pattern)
    )
    for key in keys:
        if match := re.fullmatch(expression, key):
            yield match[placeholder]


def _load_results(app: Sphinx) -> None:
    results = Results(Path(app.srcdir, app.config.radtransfer_results))
    app.radtransfer_results = results  # type: ignore[attr-defined]


def _fill_appendices(app: Sphinx, docname: str, content: list[str]) -> None:
    """Lines that name a generated appendix give way to it, before the page is parsed."""
    try:
        content[0] = fill(content[0], Evidence(Results.of(app.env).folder))
    except RadtransferError as error:
        logger.warning(str(error), location=docname, type="radtransfer", subtype="appendix")


def _end_with_references(app: Sphinx, docname: str, content: list[str]) -> None:
    """A page that cites ends with what it cites, beside the references of all pages on their own."""
    source = content[0]
    if "{cite:" not in source or "{bibliography}" in source:
        return
    if Path(app.env.doc2path(docname)).suffix == ".ipynb":
        notebook = json.loads(source)
        cell = {"cell_type": "markdown", "metadata": {}, "source": _REFERENCES}
        content[0] = json.dumps(notebook | {"cells": [*notebook["cells"], cell]})
    else:
        content[0] = f"{source}\n\n{_REFERENCES}\n"


def _outdated_pages(app: Sphinx, env: BuildEnvironment, *changes: set[str]) -> set[str]:
    """All pages are read again when a number changed: sources alone would not tell."""
    digest = Results.of(env).registry.digest
    unchanged = getattr(env, "radtransfer_digest", digest) == digest
    env.radtransfer_digest = digest  # type: ignore[attr-defined]
    return set() if unchanged else set(env.found_docs)


def _purge(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    Results.shown(env).pop(docname, None)


def _merge(app: Sphinx, env: BuildEnvironment, docnames: set[str], other: BuildEnvironment) -> None:
    Results.shown(env).update({name: keys for name, keys in Results.shown(other).items() if name in docnames})


def _report_unused(app: Sphinx, env: BuildEnvironment) -> None:
    unused = set(Results.of(env).registry).difference(*Results.shown(env).values())
    if unused:
        logger.warning(
            "%d recorded numbers are shown on no page: %s",
            len(unused),
            ", ".join(sorted(unused)),
            type="radtransfer",
            subtype="unused",
        )


def _finish_page(app: Sphinx, pagename: str, template: str, context: dict[str, Any], tree: Any) -> None:
    """Offer the executed notebook under the title of its page, and mend what others wrote for the ear."""
    if not context.get("body"):
        return
    body: str = context["body"]
    for faulty, mended in _FOR_THE_EAR.items():
        body = body.replace(faulty, mended)
    if (context.get("sourcename") or "").endswith(".ipynb"):
        stem = f"{EXECUTED}/{pagename.rpartition('/')[2]}"
        links = " · ".join(
            f'<a href="{context["pathto"](stem + suffix, 1)}" download>{label}</a>'
            for suffix, label in _OFFERED.items()
        )
        body = body.replace("</h1>", f'</h1>\n<p class="rt-download">{links}</p>', 1)
    context["body"] = body


def _mathml(node: nodes.Element, *, block: bool) -> str:
    code = node.astext().strip()
    try:
        return str(latex2mathml.tex2mathml(code, as_block=block))
    except MathError as error:
        logger.warning("mathematics %r: %s", code, error, location=node, type="radtransfer", subtype="math")
        return f"<code>{escape(code)}</code>"


def _visit_math(translator: HTML5Translator, node: nodes.math) -> None:
    translator.body.append(_mathml(node, block=False))
    raise nodes.SkipNode


def _visit_displaymath(translator: HTML5Translator, node: nodes.math_block) -> None:
    translator.body.append(translator.starttag(node, "div", CLASS="rt-math", **_SCROLLS))
    if node["number"]:
        translator.body.append(f'<span class="eqno">({get_node_equation_number(translator, node)})</span>')
    translator.body.append(f"{_mathml(node, block=True)}</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register everything with Sphinx."""
    app.add_config_value("radtransfer_results", ".", "env", types=(str,))
    plain = (_plain_number, _plain_number)
    app.add_node(number_node, html=(_visit_number, _depart_number), latex=plain, text=plain)
    app.add_role("num", NumberRole())
    app.add_directive("numbers-table", NumbersTable)
    app.add_directive("study-table", StudyTable)
    app.add_directive("study-figure", StudyFigure)
    app.add_html_math_renderer("mathml", (_visit_math, None), (_visit_displaymath, None))
    app.connect("builder-inited", _load_results)
    app.connect("source-read", _fill_appendices)
    app.connect("source-read", _end_with_references)
    app.connect("env-get-outdated", _outdated_pages)
    app.connect("env-purge-doc", _purge)
    app.connect("env-merge-info", _merge)
    app.connect("env-check-consistency", _report_unused)
    app.connect("html-page-context", _finish_page)
    return {"version": __version__, "parallel_read_safe": True, "parallel_write_safe": True}
