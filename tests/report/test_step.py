"""What a notebook records can be read back, shown, and is never half there."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from lxml import html
from PIL import Image

mpl.use("agg")

from matplotlib import pyplot as plt

from radtransfer.errors import InputError, StepError
from radtransfer.report.numbers import Registry
from radtransfer.report.step import Figure, Step
from radtransfer.report.tables import Table, plain_frame
from radtransfer.stats.result import Estimate

AUC = Estimate(
    name="AUC",
    estimate=0.92081,
    low=0.9,
    high=0.94,
    method="clustered bootstrap",
    p_value=0.01,
    n={"images": 1000},
)


@pytest.fixture
def step(tmp_path: Path) -> Step:
    return Step("04_evaluation", study_dir=tmp_path / "tiny")


def drawing() -> plt.Figure:
    fig, ax = plt.subplots(figsize=(7, 4))
    ax.plot([0, 1], [0, 1])
    return fig


def test_numbers_are_saved_with_their_uncertainty(step: Step) -> None:
    shown = step.number("cv.pneumonia.vgg16_frozen.auc", AUC)
    assert repr(shown) == "cv.pneumonia.vgg16_frozen.auc = 0.921 (95 % CI 0.900 to 0.940)"
    step.number("cohort.n", np.int64(5))
    step.number("cohort.share", np.float32(0.5), digits=1)
    step.save()
    registry = Registry.load(step.study_dir)
    saved = registry.get("cv.pneumonia.vgg16_frozen.auc")
    assert (saved.value, saved.low, saved.high, saved.level) == (0.92081, 0.9, 0.94, 0.95)
    assert (saved.p_value, saved.method, saved.n) == (0.01, "clustered bootstrap", {"images": 1000})
    assert (saved.description, saved.notebook) == ("AUC", "04_evaluation")
    assert registry.get("cohort.n").value == 5
    assert isinstance(registry.get("cohort.n").value, int)
    assert registry.get("cohort.share").text == "0.5"


def test_many_numbers_at_once(step: Step) -> None:
    frame = pd.DataFrame({"auc": [AUC, None], "n": [3.0, np.nan]}, index=["vgg16", "border"])
    step.numbers("cv.pneumonia", frame)
    step.numbers("cohort", {"pneumonia": {"n_images": 10}, "n_tasks": 1})
    assert list(step.registry()) == [
        "cv.pneumonia.vgg16.auc",
        "cv.pneumonia.vgg16.n",
        "cohort.pneumonia.n_images",
        "cohort.n_tasks",
    ]


@pytest.mark.parametrize("value", [np.nan, np.inf, None, True, np.bool_(True), [1], np.array([1.0, 2.0])])
def test_values_that_are_refused(step: Step, value: object) -> None:
    with pytest.raises(InputError):
        step.number("a.b", value)  # type: ignore[arg-type]


def test_key_that_is_refused(step: Step) -> None:
    with pytest.raises(InputError, match="number 'AUC'"):
        step.number("AUC", 1)


def test_a_key_has_one_value(step: Step) -> None:
    step.number("a.b", 1)
    step.number("a.b", 1)
    with pytest.raises(InputError, match="recorded as 1"):
        step.number("a.b", 2)


def test_figure(step: Step) -> None:
    frame = pd.DataFrame({"x": [0.0, 1.0]})
    figure = step.figure("roc", drawing(), alt="A 45° line & more", caption="ROC <curve>", data=frame)
    folder = step.study_dir / "figures"
    tree = html.fromstring(figure._repr_html_())
    image = tree.find(".//img")
    assert image.get("alt") == "A 45° line & more"
    payload = base64.b64decode(image.get("src").removeprefix("data:image/png;base64,"))
    assert payload == (folder / "roc.png").read_bytes()
    assert tree.find(".//a").get("href") == "../figures/roc.csv"
    assert tree.find(".//figcaption").text.startswith("ROC <curve>")
    pd.testing.assert_frame_equal(pd.read_csv(folder / "roc.csv"), frame)
    stored = Figure.model_validate_json((folder / "roc.json").read_text())
    assert (stored.alt, stored.caption, stored.width) == (figure.alt, figure.caption, int(image.get("width")))
    with Image.open(folder / "roc.png") as picture:
        assert stored.width == pytest.approx(picture.width * 96 / 150, abs=1)
    assert not plt.get_fignums()


def test_equal_figures_are_equal_files(step: Step) -> None:
    frame = pd.DataFrame({"x": [1]})
    for name in ("one", "two"):
        step.figure(name, drawing(), alt="a", caption="c", data=frame)
    folder = step.study_dir / "figures"
    assert (folder / "one.png").read_bytes() == (folder / "two.png").read_bytes()


@pytest.mark.parametrize(("alt", "caption"), [("", "c"), ("a", " ")])
def test_figure_without_words(step: Step, alt: str, caption: str) -> None:
    with pytest.raises(InputError, match=r"has no (alt|caption) text"):
        step.figure("x", drawing(), alt=alt, caption=caption, data=pd.DataFrame())
    plt.close("all")


def test_names_are_file_names_and_unique(step: Step) -> None:
    frame = pd.DataFrame({"x": [1]})
    with pytest.raises(InputError, match="lower-case"):
        step.table("../escape", frame, caption="c")
    step.table("once", frame, caption="c")
    with pytest.raises(InputError, match="already recorded a table 'once'"):
        step.table("once", frame, caption="c")


def test_table_shows_text_and_keeps_all_digits(step: Step) -> None:
    frame = pd.DataFrame(
        {"AUC": [AUC, None], "images": [1000, 20], "share": [1 / 3, np.nan], "note": ["a < b", None]},
        index=pd.Index(["VGG16", "border"], name="Model"),
    )
    table = step.table("metrics", frame, caption="Metrics & more")
    tree = html.fromstring(table._repr_html_())
    cells = [[cell.text_content() for cell in row] for row in tree.findall(".//tbody/tr")]
    assert cells == [
        ["VGG16", "0.921 (0.900 to 0.940)", "1,000", "0.333", "a < b"],
        ["border", "–", "20", "–", "–"],
    ]
    assert tree.find(".//caption").text == "Metrics & more"
    assert [head.get("scope") for head in tree.findall(".//thead//th")] == ["col"] * 5
    assert all(row[0].tag == "th" and row[0].get("scope") == "row" for row in tree.findall(".//tbody/tr"))
    region = tree.find(".//div[@role='region']") if tree.get("role") is None else tree
    assert region.get("tabindex") == "0"
    stored = pd.read_csv(step.study_dir / "tables" / "metrics.csv")
    assert list(stored) == ["Model", "AUC", "AUC_low", "AUC_high", "images", "share", "note"]
    assert stored.loc[0, "share"] == 1 / 3
    again = Table.model_validate_json((step.study_dir / "tables" / "metrics.json").read_text())
    assert again == table


def test_unnamed_index_is_left_out() -> None:
    frame = pd.DataFrame({"a": [1, 2]}, index=[7, 9])
    assert list(plain_frame(frame)) == ["a"]
    assert Table.from_frame(frame, caption="c").rows == (("1",), ("2",))


def test_record_names_everything(step: Step) -> None:
    step.figure("f", drawing(), alt="a", caption="c", data=pd.DataFrame({"x": [1]}))
    step.table("t", pd.DataFrame({"x": [1]}), caption="c")
    step.runs([SimpleNamespace(spec=SimpleNamespace(hash=name)) for name in ("aa", "bb", "aa")])
    for task in ("tumour", "bacterial"):
        step.dataset(SimpleNamespace(task=task, folder=Path(f"/somewhere/phantom-{task}")))
    step.save()
    later = Step("13_claims", study_dir=step.study_dir)
    record = later.previous("04_evaluation")
    assert (record["notebook"], record["profile"]) == ("04_evaluation", "tiny")
    assert (record["figures"], record["tables"], record["runs"]) == (["f"], ["t"], ["aa", "bb"])
    # in the order of the profile
    assert list(record["datasets"].items()) == [
        ("tumour", "phantom-tumour"),
        ("bacterial", "phantom-bacterial"),
    ]
    assert not re.search(r"/(tmp|somewhere|work)", str(record))


def test_a_task_has_one_dataset(step: Step) -> None:
    step.dataset(SimpleNamespace(task="tumour", folder=Path("a")))
    with pytest.raises(InputError, match="already recorded a dataset for tumour"):
        step.dataset(SimpleNamespace(task="tumour", folder=Path("b")))


def test_previous_step_is_absent(step: Step) -> None:
    with pytest.raises(StepError, match="04_evaluation needs the record of 01_data_curation"):
        step.previous("01_data_curation")
