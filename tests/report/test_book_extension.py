"""Roles and directives of the book, in a bare Sphinx."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pandas as pd
import pytest
from lxml import html
from matplotlib.figure import Figure
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

from radtransfer.report.step import Step
from radtransfer.stats.result import Estimate

AUC = Estimate(name="AUC", estimate=0.8903, low=0.868, high=0.911, p_value=2e-4, n={"images": 1000})


def record(folder: Path, *, n_images: int = 1000) -> None:
    step = Step("04_evaluation", study_dir=folder)
    step.number("cohort.n_images", n_images)
    for model, metric in (("vgg16_frozen", "auc"), ("vgg16_frozen", "f1"), ("metadata", "auc")):
        step.number(f"cv.{model}.{metric}", AUC)
    step.table("performance", pd.DataFrame({"Model": ["VGG16"], "n": [1000]}), caption="Performance.")
    step.figure("roc", Figure(), alt="A curve", caption="ROC.", data=pd.DataFrame({"x": [1]}))
    step.save()


class Book:
    """Source folder, and what Sphinx makes of it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def build(
        self, text: str, *, used: str = "", builder: str = "html"
    ) -> tuple[html.HtmlElement, list[str]]:
        """Page `chapters/page` made of the text, and the warnings; `used` are keys shown elsewhere."""
        (self.root / "chapters").mkdir(exist_ok=True)
        (self.root / "chapters" / "page.md").write_text(f"# Page\n\n{text}\n")
        others = " ".join(f"{{num}}`{key}`" for key in used.split())
        (self.root / "index.md").write_text(f"# Book\n\n{others}\n\n```{{toctree}}\nchapters/page\n```\n")
        log = io.StringIO()
        with docutils_namespace():
            app = Sphinx(
                self.root,
                None,
                self.root / "_out",
                self.root / "_doctrees",
                builder,
                confoverrides={
                    "extensions": ["myst_parser", "radtransfer.report.book_extension"],
                    "myst_enable_extensions": ["dollarmath", "colon_fence"],
                    "html_math_renderer": "mathml",
                    "html_theme": "basic",
                    "exclude_patterns": ["_out"],
                },
                status=None,
                warning=log,
            )
            app.build()
        warnings = re.sub(r"\x1b\[[\d;]*m", "", log.getvalue()).replace(f"{self.root}/", "").splitlines()
        suffix = {"html": "html", "text": "txt"}[builder]
        page = (self.root / "_out" / "chapters" / f"page.{suffix}").read_text(encoding="utf-8")
        return html.fromstring(page), warnings


ALL = "cohort.n_images cv.vgg16_frozen.auc cv.vgg16_frozen.f1 cv.metadata.auc"


@pytest.fixture
def book(tmp_path: Path) -> Book:
    record(tmp_path)
    return Book(tmp_path)


@pytest.mark.parametrize(
    ("role", "text"),
    [
        ("cohort.n_images", "1,000"),
        ("cv.metadata.auc", "0.890"),
        ("cv.metadata.auc|interval", "0.890 (95\N{NO-BREAK SPACE}% CI 0.868 to 0.911)"),
        ("cv.metadata.auc | n.images", "1,000"),
        ("cv.metadata.auc|p", "p < 0.001"),
    ],
)
def test_number(book: Book, role: str, text: str) -> None:
    page, warnings = book.build(f"{{num}}`{role}`", used=ALL)
    assert warnings == []
    assert page.find(".//data").text == text


def test_number_in_a_title_and_in_plain_text(book: Book) -> None:
    page, warnings = book.build("## Of {num}`cohort.n_images` images", used=ALL)
    assert warnings == []
    assert page.findtext(".//h2/data") == "1,000"
    page, warnings = book.build("{num}`cohort.n_images` images", used=ALL, builder="text")
    assert warnings == []
    assert "1,000 images" in page.text_content()


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("{num}`cv.metadta.auc`", "no number 'cv.metadta.auc' is recorded (did you mean 'cv.metadata.auc'?)"),
        ("{num}`cohort.n_images|n`", "cohort.n_images has no form 'n'"),
        (
            ":::{study-table} performanc\n:::",
            "no table 'performanc' is recorded (did you mean 'performance'?)",
        ),
        (":::{study-figure} ro\n:::", "no figure 'ro' is recorded (did you mean 'roc'?)"),
        (
            ":::{numbers-table} cv.{model}.{metric}\n:caption: c\n:::",
            "no number 'cv.metadata.f1' is recorded",
        ),
        (":::{numbers-table} cv.{model}.{metric}\n:::", "numbers-table needs a :caption:"),
        (":::{numbers-table} cv.{model}.auc\n:caption: c\n:::", "a pattern with two {placeholders}"),
        (":::{numbers-table} dv.{model}.{metric}\n:caption: c\n:::", "no recorded key matches dv.{model}"),
        (
            ":::{numbers-table} cv.{model}.{metric}\n:caption: c\n\nmodle: {a: A}\n:::",
            "no placeholder 'modle'",
        ),
        (":::{numbers-table} {a}.{model}.{metric}\n:each: b\n:caption: c\n:::", "no placeholder 'b'"),
        ("$\\foo$", 'Unknown LaTeX command "\\foo"'),
    ],
)
def test_mistakes_are_warned_of_where_they_stand(book: Book, text: str, warning: str) -> None:
    _, warnings = book.build(text, used=ALL)
    assert len(warnings) == 1
    assert warnings[0].startswith("chapters/page.md:3: WARNING: ")
    assert warning in warnings[0]


def test_numbers_that_no_page_shows(book: Book) -> None:
    _, warnings = book.build(
        "{num}`cv.metadata.auc`\n\n:::{numbers-table} cv.{model}.{metric}\n:caption: c\n\n"
        "model: {vgg16_frozen: VGG16}\nmetric: {auc: AUC}\n:::"
    )
    assert warnings == [
        "WARNING: 2 recorded numbers are shown on no page: cohort.n_images, cv.vgg16_frozen.f1"
    ]


def rows(page: html.HtmlElement) -> list[list[str]]:
    return [[cell.text_content() for cell in row] for row in page.findall(".//table//tr")]


def test_numbers_table_with_labels(book: Book) -> None:
    page, warnings = book.build(
        ":::{numbers-table} cv.{model}.{metric}\n:caption: Performance, 95 % CI\n"
        ":corner: Network\n:form: value\n\n"
        "metric:\n  f1: F₁\n  auc: Area\nmodel: {vgg16_frozen: VGG}\n:::",
        used=ALL,
    )
    assert warnings == []
    assert rows(page) == [["Network", "F₁", "Area"], ["VGG", "0.890", "0.890"]]
    assert page.findtext(".//caption") == "Performance, 95 % CI"


def test_sparse_numbers_table_of_everything_recorded(book: Book) -> None:
    page, warnings = book.build(
        ":::{numbers-table} cv.{model}.{metric}\n:caption: c\n:sparse:\n:::", used="cohort.n_images"
    )
    assert warnings == []
    assert rows(page) == [
        ["Model", "AUC", "F1 score"],
        ["VGG16, frozen", "0.890 (0.868 to 0.911)", "0.890 (0.868 to 0.911)"],
        ["Age, sex and view only", "0.890 (0.868 to 0.911)", "–"],
    ]


def test_what_a_smaller_run_lacks_leaves_a_dash_and_a_misspelt_key_fails(
    book: Book, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RADTRANSFER_ROOT", str(tmp_path))
    text = "Gain {num}`protocols.gain|interval`."
    _, warnings = book.build(text, used=ALL)
    assert "no number 'protocols.gain' is recorded" in warnings[0]
    step = Step("07_leakage_and_shortcuts", study_dir=tmp_path / "elsewhere")
    step.number("protocols.gain", 0.07)
    step.registry().write(tmp_path / "results" / "numbers.json")
    page, warnings = book.build(text, used=ALL)
    assert warnings == []
    assert "Gain –." in page.text_content()
    _, warnings = book.build("Gain {num}`protocols.gian`.", used=ALL)
    assert "no number 'protocols.gian' is recorded" in warnings[0]


def test_a_transposed_numbers_table(book: Book) -> None:
    page, warnings = book.build(
        ":::{numbers-table} cv.{model}.{metric}\n:caption: c\n:sparse:\n:transpose:\n:corner: Measure\n:::",
        used="cohort.n_images",
    )
    assert warnings == []
    assert rows(page) == [
        ["Measure", "VGG16, frozen", "Age, sex and view only"],
        ["AUC", "0.890 (0.868 to 0.911)", "0.890 (0.868 to 0.911)"],
        ["F1 score", "0.890 (0.868 to 0.911)", "–"],
    ]


def test_a_numbers_table_for_each_part(book: Book) -> None:
    page, warnings = book.build(
        ":::{numbers-table} cv.{model}.{metric}\n:each: model\n:caption: c\n:::", used=ALL
    )
    assert "a pattern with two {placeholders}" in warnings[0]
    page, warnings = book.build(
        ":::{numbers-table} {kind}.{model}.{metric}\n:each: kind\n:caption: c\n:sparse:\n:::",
        used="cohort.n_images",
    )
    assert warnings == []
    assert page.findtext(".//caption") == "cv. c"
    assert [row[0] for row in rows(page)] == ["Model", "VGG16, frozen", "Age, sex and view only"]


def test_recorded_table_and_figure(book: Book) -> None:
    page, warnings = book.build(":::{study-table} performance\n:::\n\n:::{study-figure} roc\n:::", used=ALL)
    assert warnings == []
    assert rows(page) == [["Model", "n"], ["VGG16", "1,000"]]
    image = page.find(".//figure/img")
    assert (image.get("src"), image.get("alt")) == ("../figures/roc.png", "A curve")
    links = [link for link in page.xpath("//a/@href") if link.endswith(".csv")]
    assert links == ["../tables/performance.csv", "../figures/roc.csv"]


def test_mathematics(book: Book) -> None:
    page, warnings = book.build(
        "$\\hat\\theta \\le 1$\n\n$$\na &= b \\\\ c &= d\n$$ (eq-a)\n\n{eq}`eq-a`", used=ALL
    )
    assert warnings == []
    inline, block = page.findall(".//math")
    assert "".join(inline.itertext()).split() == ["θ", "ˆ", "≤", "1"]
    assert len(block.findall(".//mtr")) == 2
    assert page.xpath("//*[@id='equation-eq-a']//span[@class='eqno']/text()") == ["(1)"]


def test_pages_are_read_again_when_a_number_changes(book: Book) -> None:
    page, _ = book.build("{num}`cohort.n_images`", used=ALL)
    assert page.findtext(".//data") == "1,000"
    path = book.root / "records" / "04_evaluation.json"
    content = json.loads(path.read_text())
    content["numbers"][0]["value"] = 999
    path.write_text(json.dumps(content))
    page, warnings = book.build("{num}`cohort.n_images`", used=ALL)
    assert warnings == []
    assert page.findtext(".//data") == "999"
