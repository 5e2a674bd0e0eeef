"""Each fault of a page or of the prose is found, and nothing else is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radtransfer.study import bookchecks
from radtransfer.study.bookchecks import Finding, check_html, lint_prose, typed_digits

REPOSITORY = Path(__file__).resolve().parents[2]

SOUND = """<html><head><link rel="stylesheet" href="_static/a.css"><link rel="license" href="https://x.org">
<script src="_static/a.js?v=1"></script><script>var a = "//"; b = 'x'; // comment at https://x.org
</script><style>p { background: url("_static/a.png") } /* url(https://x.org/a.png) */</style></head>
<body id="start"><article><h1 id="top-title">T</h1><code>{num}`a.b`</code>
<p style="background: url(data:image/png;base64,AA)"><a href="https://x.org/#a">out</a>
<a href="mailto:a@b.c">mail</a> <a href="sub/other.html#there">in</a>
<a href="#top-title">up</a> <a href="#">top</a> <a href="sub/">folder</a></p>
<img src="_static/a.png" alt="A"><img src="data:image/png;base64,AA" alt="B">
<img src="_static/a.png" alt="" role="presentation">
<table><tr><td>Nan Goldin</td><td>information</td><td>0.9</td></tr></table></article></body></html>"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "_static").mkdir()
    (tmp_path / "sub").mkdir()
    (tmp_path / "_static" / "a.css").write_text(
        "@font-face { src: url('a.woff2?x#iefix') } i { mask: url(#m) }"
    )
    for name in ("a.js", "a.png", "a.woff2"):
        (tmp_path / "_static" / name).touch()
    for name in ("other.html", "index.html"):
        (tmp_path / "sub" / name).write_text('<p id="there"><a href="../index.html">back</a></p>')
    (tmp_path / "index.html").write_text(SOUND)
    return tmp_path


def test_sound_site(site: Path) -> None:
    assert check_html(site) == []


@pytest.mark.parametrize(
    ("added", "problem"),
    [
        ('<script src="https://cdn.org/x.js"></script>', "loads https://cdn.org/x.js from outside"),
        ('<script src="//cdn.org/x.js"></script>', "loads //cdn.org/x.js from outside"),
        (
            '<script>import("https://cdn.org/x.js")</script>',
            "a script names https://cdn.org/x.js, which is outside",
        ),
        ('<link rel="stylesheet" href="https://f.org/f.css">', "loads https://f.org/f.css from outside"),
        ('<link rel="preconnect" href="//f.org">', "loads //f.org from outside"),
        ('<img src="http://x.org/a.png" alt="a">', "loads http://x.org/a.png from outside"),
        (
            '<img src="_static/a.png" srcset="https://x.org/b.png 2x" alt="a">',
            "loads https://x.org/b.png from outside",
        ),
        ('<iframe src="https://x.org"></iframe>', "loads https://x.org from outside"),
        ("<style>@import 'https://x.org/a.css';</style>", "style loads https://x.org/a.css from outside"),
        ('<p style="background:url(https://x.org/a.png)">', "style loads https://x.org/a.png from outside"),
        ('<meta http-equiv="refresh" content="0; url=https://x.org">', "leads outside by itself"),
        ('<img src="no.png" alt="a">', "loads no.png, which does not exist"),
        ('<img alt="a" src="">', "loads something without an address"),
        ('<img src="_static/a.png">', "image _static/a.png has no text alternative"),
        ('<img src="_static/a.png" alt=" ">', "image _static/a.png has no text alternative"),
        ('<a href="no.html">x</a>', "links to no.html, which does not exist"),
        ('<a href="#no">x</a>', "links to #no, where there is no such anchor"),
        ('<a href="sub/other.html#no">x</a>', "links to sub/other.html#no, where there is no such anchor"),
        ("<p>{num}`a.b`</p>", "unresolved role {num}`…"),
        ("<p>see <b>x</b> {cite:p}`a`</p>", "unresolved role {cite:p}`…"),
        ("<table><tr><td> NaN </td></tr></table>", "a table cell shows NaN"),
        ("<table><tr><th>nan</th></tr></table>", "a table cell shows nan"),
    ],
)
def test_fault(site: Path, added: str, problem: str) -> None:
    (site / "index.html").write_text(SOUND.replace("</article>", f"{added}</article>"))
    assert check_html(site) == [Finding("index.html", problem)]


def test_fault_in_a_style_sheet(site: Path) -> None:
    (site / "_static" / "a.css").write_text("a{src:url(https://f.org/a.woff)} b{src:url(no.woff)}")
    assert [str(finding) for finding in check_html(site)] == [
        "_static/a.css: style loads https://f.org/a.woff from outside",
        "_static/a.css: style loads no.woff, which does not exist",
    ]


def test_page_that_is_too_large(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bookchecks, "MAX_PAGE_BYTES", len(SOUND.encode()) - 1)
    assert [finding.page for finding in check_html(site)] == ["index.html"]


@pytest.mark.parametrize(
    "text",
    [
        "VGG16, ResNet50, EfficientNet-Lite0 and DenseNet121; F1; claims C1 to C11.",
        "{num}`cv.x.thumbnail32.auc|n.images` of {cite:p}`doe2020`",
        "`x = 1` and ``y = `2` ``",
        "```python\nx = 1\n```",
        "```{numbers-table} cv.a1.{model}.{metric}\n:caption: 95 % intervals\n```",
        "$x_1 = 0.5$ and\n$$\n0.5\n$$",
        "[chapter](02_traditional_baselines.ipynb) <!-- 12 -->",
        "https://x.org/2020",
        "(sec-1)=\n# Title",
        "1. first\n2. second",
        ":::{tip}\n:class: tip-2\ntext\n:::",
    ],
)
def test_digits_that_are_no_results(text: str) -> None:
    assert typed_digits(text) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("An AUC of 0.93.", [(1, "0.93")]),
        ("# T\n\nIn 682 patients,\nor 12 %.", [(3, "682"), (4, "12")]),
        ("{num}`a.b` and 5-fold", [(1, "5-fold")]),
        (":::{tip}\n- AUC 0.9\n:::", [(2, "0.9")]),
        ("```{admonition} Takeaways\n- AUC 0.9\n```", [(2, "0.9")]),
        ("VGG16 0.9, VGG160", [(1, "0.9"), (1, "VGG160")]),
        ("$a$ 3 $b$", [(1, "3")]),
        ("| a | 7 |", [(1, "7")]),
        ("[85 %](chapter.md)", [(1, "[85")]),
    ],
)
def test_digits_that_were_typed(text: str, found: list[tuple[int, str]]) -> None:
    assert typed_digits(text) == found


WORD = st.text("abcxyz", min_size=1, max_size=8)


@settings(deadline=None)
@given(st.lists(st.lists(WORD, max_size=4), max_size=5), st.integers(0, 99), st.data())
def test_a_typed_number_is_found_on_its_line(
    lines: list[list[str]], number: int, data: st.DataObject
) -> None:
    line = data.draw(st.integers(0, len(lines)))
    text = [" ".join(words) for words in lines]
    text.insert(line, f"a {number} b")
    assert typed_digits("\n".join(text)) == [(line + 1, str(number))]


def test_lint_names_file_cell_and_line(tmp_path: Path) -> None:
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "book" / "chapters").mkdir(parents=True)
    cells = [
        {"cell_type": "code", "source": "x = 1"},
        {"cell_type": "markdown", "source": ["# T\n", "\n", "AUC 0.9"]},
    ]
    (tmp_path / "notebooks" / "04_evaluation.ipynb").write_text(json.dumps({"cells": cells}))
    (tmp_path / "book" / "chapters" / "results.md").write_text("one\n2\n")
    (tmp_path / "book" / "chapters" / "methods.md").write_text("50 epochs\n")
    assert list(map(str, lint_prose(tmp_path))) == [
        "notebooks/04_evaluation.ipynb cell 2, line 3: typed digits '0.9'",
        "book/chapters/results.md:2: typed digits '2'",
    ]


def test_results_chapters_of_this_study_hold_no_typed_digit() -> None:
    assert any(REPOSITORY.glob("notebooks/*.ipynb"))
    assert list(map(str, lint_prose(REPOSITORY))) == []
