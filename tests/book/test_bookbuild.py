"""The book shows what was recorded, offline; a book with a fault does not replace a sound one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml
from lxml import html

from radtransfer.errors import InputError
from radtransfer.report.numbers import Registry
from radtransfer.study import bookbuild
from radtransfer.study.bookbuild import BookError, BookSource, build_book
from radtransfer.study.bookchecks import check_html
from radtransfer.study.comparison import Checked
from radtransfer.study.verification import MODES, RunsCompared, Verification, report_path, save

REPOSITORY = Path(__file__).resolve().parents[2]


def page(book: Path, name: str) -> html.HtmlElement:
    return html.parse(str(book / name), html.HTMLParser(encoding="utf-8")).getroot()


def test_prose_shows_numbers_with_their_origin(book: Path) -> None:
    tree = page(book, "book/index.html")
    text = " ".join(tree.find(".//article").text_content().split())
    assert "reaches 0.890 (95 % CI 0.868 to 0.911) on 1,000 images (1,000 images), the metadata 0.890" in text
    number = tree.find(".//data[@class='rt-number']")
    assert number.get("value") == "0.8903"
    assert number.get("title").startswith("cv.demo.vgg16_frozen.auc; AUC; bootstrap <of patients>")


@pytest.mark.parametrize("name", ["book/index", "notebooks/01_demo"])
def test_a_page_ends_with_the_references_it_cites(book: Path, name: str) -> None:
    *_, last = page(book, f"{name}.html").xpath("//article//h2/parent::section")
    assert last.findtext("h2") == "References"
    assert [item.text_content().split(",")[0].strip() for item in last.iter("li")] == ["Jane Doe. A. J"]
    assert not page(book, "book/chapters/results.html").xpath("//h2[starts-with(., 'References')]")


def test_number_in_a_notebook(book: Path) -> None:
    assert page(book, "notebooks/01_demo.html").find(".//data").text == "1,000"


def test_table_by_key_pattern(book: Path) -> None:
    table = page(book, "book/chapters/results.html").find(".//table")
    heads = [cell.text_content() for cell in table.findall(".//thead//th")]
    assert heads[:3] == ["Model", "AUC", "Accuracy"]
    rows = [[cell.text_content() for cell in row] for row in table.findall(".//tbody/tr")]
    assert [row[0] for row in rows] == ["Age, sex and view only", "VGG16, frozen"]
    assert set(rows[0][1:]) == {"0.890 (0.868 to 0.911)"}


def test_recorded_table_and_figure_outside_notebooks(book: Path) -> None:
    tree = page(book, "book/chapters/results.html")
    image = tree.find(".//figure/img")
    assert image.get("alt") == "AUC 0.890"
    for address in (
        image.get("src"),
        *tree.xpath("//*[contains(@class,'rt-data')]/descendant-or-self::a/@href"),
    ):
        assert (book / "book" / "chapters" / address).resolve().is_file()


def test_code_is_folded_and_the_notebook_offered(book: Path) -> None:
    tree = page(book, "notebooks/01_demo.html")
    cells = [
        cell.get("class").split()
        for cell in tree.xpath("//div[contains(@class,'docutils') and contains(@class,'cell ')]")
    ]
    assert [[tag for tag in cell if tag.startswith("tag_")] for cell in cells] == [
        ["tag_hide-input"],
        ["tag_hide-input"],
        ["tag_hide-cell"],
    ]


def test_the_executed_notebook_its_parameters_and_its_record_are_offered(book: Path) -> None:
    (line,) = page(book, "notebooks/01_demo.html").xpath("//p[@class='rt-download']")
    links = {link.text: (book / "notebooks" / link.get("href")).resolve() for link in line.iter("a")}
    study = book.parents[2] / "study" / "tiny"
    assert links["Executed notebook"].read_bytes() == (study / "notebooks" / "01_demo.ipynb").read_bytes()
    assert yaml.safe_load(links["its parameters"].read_text()) == {"n_images": 1000}
    offered = json.loads(links["its record"].read_text())
    assert offered == json.loads((study / "records" / "01_demo.json").read_text())


@pytest.mark.parametrize("public", [False, True])
def test_a_book_with_a_public_repository_offers_to_run_there(
    public: bool, checkout: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(bookbuild.REPOSITORY, "https://example.org/us/study" if public else "")
    bookbuild._stage(BookSource.of("tiny"), tmp_path / "staged")
    config = yaml.safe_load((tmp_path / "staged" / "_config.yml").read_text())
    assert ("launch_buttons" in config) == public
    if public:
        assert config["repository"]["url"] == "https://example.org/us/study"


def test_mathematics_is_mathml(book: Path) -> None:
    tree = page(book, "book/index.html")
    assert tree.xpath("//math[@display='block']//mfrac")
    assert page(book, "notebooks/01_demo.html").xpath("//math//msub")
    assert not any("mathjax" in address for address in tree.xpath("//script/@src"))


def test_every_page_says_that_it_is_no_result(book: Path) -> None:
    pages = [path for path in book.rglob("*.html") if "_static" not in path.parts and path.parent != book]
    assert len(pages) == 4  # those at the root are the index, the search and a redirect
    for path in pages:
        (banner,) = page(book, str(path.relative_to(book))).xpath("//aside[@aria-label='Announcement']")
        assert "profile tiny on synthetic phantoms: no result of the study" in banner.text_content()


def test_footer_names_the_licence(book: Path) -> None:
    assert page(book, "book/index.html").xpath("//footer//a[@rel='license']/text()") == ["CC BY 4.0"]


def test_the_built_book_is_sound_and_nothing_is_left_over(book: Path) -> None:
    assert check_html(book) == []
    assert [path.name for path in book.parent.iterdir()] == ["html"]


def test_faults_are_told_with_their_place_and_the_old_book_stays(checkout: Path) -> None:
    old = checkout / "work" / "book" / "tiny" / "html"
    old.mkdir(parents=True)
    (old / "index.html").write_text("old")
    chapter = checkout / "book" / "chapters" / "results.md"
    chapter.write_text(
        "# Results\n\n{num}`cv.demo.vgg16_frozn.auc`\n\n```{numbers-table} cv.demo.{model}.{metric}\n"
        ":caption: c\n```\n\n[nowhere](missing.md)\n\n$\\foo$\n"
    )
    notebook = checkout / "work" / "study" / "tiny" / "notebooks" / "01_demo.ipynb"
    text = notebook.read_text().replace("cohort.demo.n_images", "cohort.demo.images")
    notebook.write_text(text.replace("$x_i$ are read", "[are](absent.md) read"))
    with pytest.raises(BookError) as caught:
        build_book("tiny")
    told = str(caught.value)
    assert caught.value.exit_status == 1
    expected = [
        "book/chapters/results.md:3: no number 'cv.demo.vgg16_frozn.auc' is recorded "
        "(did you mean 'cv.demo.vgg16_frozen.auc'?)",
        "notebooks/01_demo.ipynb cell 1, line 3: no number 'cohort.demo.images' is recorded",
        "1 recorded numbers are shown on no page: best.demo.name",
        "book/chapters/results.md:9: 'myst' cross-reference target not found: 'missing.md'",
        "notebooks/01_demo.ipynb cell 1, line 3: 'myst' cross-reference target not found: 'absent.md'",
        'Unknown LaTeX command "\\foo"',
    ]
    assert [line for line in expected if line not in told] == [], told
    assert (old / "index.html").read_text() == "old"
    assert [path.name for path in old.parent.iterdir()] == ["html"]


def test_a_run_and_a_publication_are_laid_out_alike(checkout: Path, tmp_path: Path) -> None:
    run = BookSource.of("tiny")
    results = checkout / "results"
    shutil.copytree(run.results / "notebooks", results / "notebooks")
    bookbuild._stage_evidence(run, results)
    Registry.load(run.results).write(results / "numbers.json")
    bookbuild._stage(run, tmp_path / "of_run")
    bookbuild._stage(BookSource.of(None), tmp_path / "of_results")
    for name in bookbuild.EVIDENCE:
        assert (tmp_path / "of_run" / name).read_text() == (tmp_path / "of_results" / name).read_text()


def test_a_dead_link_of_a_checklist_stops_the_build(checkout: Path) -> None:
    (checkout / "book" / "appendices").mkdir()
    (checkout / "book" / "appendices" / "claim.md").write_text("# CLAIM\n\n<!-- appendix: claim -->\n")
    with (checkout / "_toc.yml").open("a") as toc:
        toc.write("- file: book/appendices/claim\n")
    links = ("notebooks/01_demo.ipynb#demo", "book/index.md#a-study", "book/index.md#gone", "book/lost.md#a")
    items = [{"item": str(n), "topic": "t", "where": [link]} for n, link in enumerate(links, start=1)]
    (checkout / "book" / "checklists").mkdir()
    (checkout / "book" / "checklists" / "claim_2024.yaml").write_text(
        json.dumps([{"section": "All", "items": items}])
    )
    with pytest.raises(BookError) as caught:
        build_book("tiny")
    told = [finding.problem for finding in caught.value.findings]
    assert any("local id not found" in line and "'gone'" in line for line in told)
    assert any("lost.md" in line for line in told)
    assert not any("demo" in line or "a-study" in line for line in told)


def test_finished_book_takes_the_place_of_the_old_one(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def render(stage: Path, scratch: Path) -> Path:
        new = scratch / "_build" / "html"
        new.mkdir(parents=True)
        numbers = Registry.load(stage)
        (new / "index.html").write_text(f"<p>{len(numbers)}</p>")
        return new

    monkeypatch.setattr(bookbuild, "_render", render)
    for extra in (0, 1):
        path = checkout / "work" / "study" / "tiny" / "records" / "02_more.json"
        number = [{"key": "more.n", "value": 1, "notebook": "02_more"}] if extra else []
        path.write_text(json.dumps({"notebook": "02_more", "profile": "tiny", "numbers": number}))
        built = build_book("tiny")
        assert (built / "index.html").read_text() == f"<p>{14 + extra}</p>"
    assert [path.name for path in built.parent.iterdir()] == ["html"]


def test_typed_digit_in_a_results_chapter(checkout: Path) -> None:
    (checkout / "book" / "chapters" / "results.md").write_text("# Results\n\nAn AUC of 0.93.\n")
    with pytest.raises(BookError, match=r"results\.md:3: typed digits '0\.93'"):
        build_book("tiny")


def test_which_results_are_shown(checkout: Path) -> None:
    assert not BookSource.of("tiny").publishable
    with pytest.raises(InputError, match=r"profile 'quick' has not been run .*make study PROFILE=quick"):
        BookSource.of("quick")
    with pytest.raises(InputError, match="did you mean 'tiny'"):
        BookSource.of("tinny")
    for profile in (None, "published"):
        with pytest.raises(InputError, match="no published results"):
            BookSource.of(profile)
    (checkout / "results").mkdir()
    assert BookSource.of(None) == BookSource.of("published")
    assert BookSource.of(None) == BookSource("published", checkout / "results", True)
    (checkout / "work" / "study" / "published" / "records").mkdir(parents=True)
    assert BookSource.of(None).results == checkout / "results"
    assert BookSource.of("published").results == checkout / "work" / "study" / "published"


def test_the_last_verification_is_shown_or_that_there_is_none(checkout: Path) -> None:
    shutil.copy(REPOSITORY / "book" / "chapters" / "verification.md", checkout / "book" / "chapters")
    with (checkout / "_toc.yml").open("a") as toc:
        toc.write("- file: book/chapters/verification\n")

    def page() -> str:
        html = build_book("tiny")
        return (html / "book" / "chapters" / "verification.html").read_text()

    none = page()
    for done in MODES.values():
        assert f"{done.capitalize()}: no report of such a verification is kept." in none

    check = Checked(
        kind="number",
        name="cv.demo.metadata.auc",
        notebook="01_demo",
        state="passed",
        identical=True,
        why="same",
    )
    moved = {
        "name": "cv.demo.vgg16_frozen.auc",
        "state": "failed",
        "identical": False,
        "outside": True,
        "why": "moved by 0.3",
    }
    report = Verification(
        mode="rerun",
        profile="tiny",
        results="0" * 64,
        date="2026-01-01",
        seconds=90.0,
        machine={"cpu": "A -> B"},
        kept={},
        runs=RunsCompared(published=8, found=8, same_spec=8, same_predictions=6, largest_difference=0.0123),
        checks=(check, check.model_copy(update=moved)),
    )
    save(report, report_path("rerun", for_book=True))
    text = " ".join(page().split())
    assert "The study executed again, 2026-01-01, in 1 min 30 s. It is of another publication" in text
    assert (
        "1 check failed. Of 8 published training runs the compared study has 8, 6 of them with the same bits"
        in text
    )
    assert "cpu: A -&gt; B" in text
    assert "moved by 0.3" in text
    measures = pd.read_csv(checkout / "work/book/tiny/html/tables/verification_rerun_measures.csv")
    counts = measures.set_index("Measure")[["Checked", "Identical", "Failed", measures.columns[-1]]]
    assert counts.loc["AUC"].tolist() == [2, 1, 1, 1]
    assert counts.drop(index="AUC").sum().sum() == 0
    csv = pd.read_csv(checkout / "work/book/tiny/html/tables/verification_rerun_exceptions.csv")
    assert csv["What"].tolist() == ["cv.demo.vgg16_frozen.auc", "cv.demo.metadata.auc"]
