"""How every result came about: from manifest entry to claim, drawn from the records and told in tables.

Nothing is drawn that no record says. A notebook is joined to a task if what it recorded has the task in its
name, and a claim to the notebooks whose numbers fill its row of the ledger.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING

from radtransfer.data.manifest import entries_of
from radtransfer.report.appendices.datasheets import sheet_anchor
from radtransfer.report.appendices.evidence import CHEXPERT
from radtransfer.report.appendices.markdown import details, table
from radtransfer.report.labels import model_label, task_label
from radtransfer.report.ledger import Claim, Comparison, NoGap, NonInferiority, load_claims
from radtransfer.report.numbers import format_number
from radtransfer.report.tables import ABSENT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from radtransfer.report.appendices.evidence import Evidence
    from radtransfer.report.numbers import Record

CLAIMS = "13_claims"
READERS = "09_reader_study"

COLUMNS = ("Manifest entry", "Curated dataset", "Runs, predictions", "Notebook", "Claim")


@dataclass(frozen=True)
class Node:
    """One box of the graph.

    Attributes
    ----------
    column : int
        Of :data:`COLUMNS`.
    name, detail : str
        First and second line.
    href : str
        Where more is told; empty for nowhere.
    """

    column: int
    name: str
    detail: str
    href: str = ""


@dataclass
class Graph:
    """Boxes by name of their own, and which comes of which."""

    nodes: dict[str, Node] = field(default_factory=dict)
    edges: dict[tuple[str, str], None] = field(default_factory=dict)

    def join(self, *names: str) -> None:
        """Join boxes in a row."""
        for pair in pairwise(names):
            self.edges[pair] = None


def provenance(evidence: Evidence) -> str:
    """Graph, and tables that say the same and more."""
    claims = load_claims(evidence.book / "claims.yaml")
    parts = [
        _svg(graph_of(evidence, claims)),
        "## From manifest to predictions",
        _tasks(evidence),
        "## What each notebook recorded",
        _notebooks(evidence),
        "## From numbers to claims",
        _claims(evidence, claims),
        "## Every run",
        *_runs(evidence),
    ]
    return "\n\n".join(parts)


def keys_of(claim: Claim) -> tuple[str, ...]:
    """Keys of the numbers that fill a claim's row of the ledger."""
    finding = claim.finding
    if isinstance(finding, Comparison):
        return tuple(part.number for part in finding.differences)
    if isinstance(finding, NonInferiority):
        return (finding.number,)
    return finding.gaps if isinstance(finding, NoGap) else ()


def tasks_named(evidence: Evidence, record: Record) -> tuple[str, ...]:
    """Tasks of which a notebook recorded something."""
    names = " ".join(
        (*evidence.numbers_of(record.notebook), *record.figures, *record.tables, *record.datasets)
    )
    return tuple(task for task in evidence.curations if re.search(rf"(?:^|[ ._-]){task}(?:$|[ ._-])", names))


def graph_of(evidence: Evidence, claims: Iterable[Claim]) -> Graph:
    """Graph from manifest entries to claims."""
    graph = Graph()
    for name in evidence.tasks_of:
        files = len(entries_of(evidence.manifest.dataset(name).files))
        detail = f"{format_number(files)} files by SHA-256" if files else "drawn from a seed"
        graph.nodes[f"data {name}"] = Node(0, name, detail, f"datasheets.html#{sheet_anchor(name)}")
    for task, curation in evidence.curations.items():
        images = format_number(int(curation["flow"]["final"]["n_images"]))
        graph.nodes[f"curated {task}"] = Node(1, task, f"{images} images")
        runs = [run for run in evidence.own_runs if run.spec.task == task]
        models = len({run.spec.model for run in runs})
        graph.nodes[f"runs {task}"] = Node(2, f"{len(runs)} runs", f"of {models} models", "model_cards.html")
        graph.join(f"data {curation['dataset']}", f"curated {task}", f"runs {task}")
    for record in evidence.records:
        if record.notebook == CLAIMS:
            continue
        detail = f"{len(list(evidence.numbers_of(record.notebook)))} numbers, {len(record.figures)} figures"
        page = f"../../notebooks/{record.notebook}.html"
        graph.nodes[record.notebook] = Node(3, record.notebook, detail, page)
        for task in tasks_named(evidence, record):
            graph.join(f"curated {task}" if record.datasets else f"runs {task}", record.notebook)
        if record.notebook == READERS and CHEXPERT in evidence.tasks_of:
            graph.join(f"data {CHEXPERT}", record.notebook)
    for claim in claims:
        if keys := [key for key in keys_of(claim) if key in evidence.registry]:
            page = f"../../notebooks/{CLAIMS}.html"
            graph.nodes[claim.id] = Node(4, claim.id, _verdict(evidence, claim), page)
            for key in keys:
                if (notebook := evidence.registry.get(key).notebook) in graph.nodes:
                    graph.join(notebook, claim.id)
    return graph


def _verdict(evidence: Evidence, claim: Claim) -> str:
    key = f"claims.{claim.id.lower()}.verdict"
    return str(evidence.registry.get(key).value) if key in evidence.registry else ABSENT


# --- the drawing --------------------------------------------------------------------------------

WIDTHS = (130, 102, 100, 154, 102)
"""Of the columns, px; all of them fit beside the book's menus."""

BOX_HEIGHT = 40
GAP_X, GAP_Y = 24, 14
HEAD = 30
LEFT = tuple(1 + sum(WIDTHS[:column]) + column * GAP_X for column in range(len(WIDTHS)))


def _svg(graph: Graph) -> str:
    """Static drawing whose colours follow the theme; what it says is told again in the tables."""
    columns: dict[int, list[str]] = {}
    for key, node in graph.nodes.items():
        columns.setdefault(node.column, []).append(key)
    height = HEAD + max(map(len, columns.values()), default=0) * (BOX_HEIGHT + GAP_Y)
    width = LEFT[-1] + WIDTHS[-1] + 1
    middle = {
        key: HEAD + (height - HEAD) / len(keys) * (row + 0.5)
        for keys in columns.values()
        for row, key in enumerate(keys)
    }
    lines = [_line(graph, start, end, middle) for start, end in graph.edges]
    boxes = [_box(node, middle[key]) for key, node in graph.nodes.items()]
    heads = [
        f'<text class="rt-head" x="{x}" y="14">{title}</text>' for x, title in zip(LEFT, COLUMNS, strict=True)
    ]
    told = (
        f"{len(graph.nodes)} boxes in {len(COLUMNS)} columns, {len(graph.edges)} lines from left to right. "
        "The tables below say which belongs to which."
    )
    return (
        '<div class="rt-graph" role="region" aria-label="Provenance graph" tabindex="0">\n'
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="group" '
        'aria-labelledby="provenance-title provenance-desc" xmlns="http://www.w3.org/2000/svg">\n'
        '<title id="provenance-title">From manifest entries to claims</title>'
        f'<desc id="provenance-desc">{told}</desc>\n{"".join([*heads, *lines, *boxes])}</svg>\n</div>'
    )


def _line(graph: Graph, start: str, end: str, middle: Mapping[str, float]) -> str:
    column = graph.nodes[start].column
    x1, x2 = LEFT[column] + WIDTHS[column], LEFT[graph.nodes[end].column]
    # it leaves and arrives level
    bend = (x2 - x1) / 2
    y1, y2 = middle[start], middle[end]
    return f'<path d="M{x1},{y1:.1f} C{x1 + bend:.1f},{y1:.1f} {x2 - bend:.1f},{y2:.1f} {x2},{y2:.1f}"/>'


def _box(node: Node, middle: float) -> str:
    x, y = LEFT[node.column], middle - BOX_HEIGHT / 2
    box = (
        f'<rect x="{x}" y="{y:.1f}" width="{WIDTHS[node.column]}" height="{BOX_HEIGHT}" rx="4"/>'
        f'<text class="rt-name" x="{x + 6}" y="{y + 16:.1f}">{escape(node.name)}</text>'
        f'<text class="rt-detail" x="{x + 6}" y="{y + 31:.1f}">{escape(node.detail)}</text>'
    )
    return f'<a href="{escape(node.href)}">{box}</a>' if node.href else f"<g>{box}</g>"


# --- the tables ---------------------------------------------------------------------------------


def _tasks(evidence: Evidence) -> str:
    rows = []
    for task, curation in evidence.curations.items():
        entry = evidence.manifest.dataset(curation["dataset"])
        runs = [run.spec for run in evidence.own_runs if run.spec.task == task]
        kinds = [sum(spec.kind == kind for spec in runs) for kind in ("baseline", "network")]
        files = f"`{entry.digest[:12]}`" if entries_of(entry.files) else "drawn"
        rows.append(
            (
                task_label(task),
                f"[{entry.id}](#{sheet_anchor(entry.id)})",
                files,
                f"`{curation['digest'][:12]}`",
                *map(str, kinds),
                f"`predictions/{task}.parquet`",
            )
        )
    head = (
        "Task",
        "Manifest entry",
        "Files",
        "Curated dataset",
        "Runs of baselines",
        "Runs of networks",
        "Predictions",
    )
    text = (
        "Digests are the first digits of SHA-256: of the files' checksums, and of the curated content. "
        "Predictions are files of a publication."
    )
    return f"{text}\n\n{table(head, rows, numeric=(4, 5))}"


def _notebooks(evidence: Evidence) -> str:
    rows = [
        (
            f"[{record.notebook}](../../notebooks/{record.notebook}.ipynb)",
            ", ".join(tasks_named(evidence, record)) or ABSENT,
            *map(
                str,
                (
                    len(record.runs),
                    len(list(evidence.numbers_of(record.notebook))),
                    len(record.figures),
                    len(record.tables),
                ),
            ),
        )
        for record in evidence.records
    ]
    head = ("Notebook", "Tasks", "Runs", "Numbers", "Figures", "Tables")
    return table(head, rows, numeric=range(2, 6))


def _claims(evidence: Evidence, claims: Iterable[Claim]) -> str:
    rows = []
    for claim in claims:
        for key in keys_of(claim):
            known = key in evidence.registry
            notebook = evidence.registry.get(key).notebook if known else ""
            page = f"[{notebook}](../../notebooks/{notebook}.ipynb)" if notebook else ABSENT
            rows.append((claim.id, f"`{key}`", page, _verdict(evidence, claim)))
    text = "The [ledger](../../notebooks/13_claims.ipynb) says why the other claims have no number."
    return f"{text}\n\n{table(('Claim', 'Number', 'Notebook', 'Verdict'), rows)}"


def _runs(evidence: Evidence) -> Iterator[str]:
    """Runs by task, folded."""
    made = {name: record.notebook for record in reversed(evidence.records) for name in record.runs}
    by_task: dict[str, list[tuple[str, ...]]] = {}
    for run in evidence.own_runs:
        spec = run.spec
        weights = f"`{spec.weights_digest[:12]}`" if spec.weights_digest else spec.weights
        row = (f"`{run.run}`", model_label(spec.model), str(spec.fold), weights, made.get(run.run, ABSENT))
        by_task.setdefault(spec.task, []).append(row)
    yield (
        "A run's name is the hash of everything that can change its result. Runs that show what a wrong "
        "protocol does are counted with their notebook and not listed."
    )
    for task, rows in by_task.items():
        listing = table(("Run", "Model", "Fold", "Weights", "Notebook"), rows, numeric=(2,))
        yield details(f"{task_label(task)}: {len(rows)} runs", listing)
