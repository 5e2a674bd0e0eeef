"""A small checkout with recorded results and an executed notebook, and its book."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from filelock import FileLock

from radtransfer.report import figures
from radtransfer.report.step import Step
from radtransfer.stats.result import Estimate
from radtransfer.study.bookbuild import build_book

REPOSITORY = Path(__file__).resolve().parents[2]
METRICS = ("auc", "accuracy", "sensitivity", "specificity", "precision", "f1")

INDEX = """
# A study

The network reaches {num}`cv.demo.vgg16_frozen.auc|interval` on {num}`cohort.demo.n_images` images
({num}`cv.demo.vgg16_frozen.auc|n`), the metadata {num}`cv.demo.metadata.auc`; see {cite:p}`doe` and
the [notebook](../notebooks/01_demo.ipynb).

$$
\\mathrm{AUC} = \\frac{1}{n} \\sum_{i=1}^{n} x_i
$$
"""

RESULTS = """
# Results

{num}`best.demo.name` is best.

- [ ] Ask who is missing from the data.

```{numbers-table} cv.demo.{model}.{metric}
:caption: Performance with intervals.
```

```{study-table} performance
```

```{study-figure} auc
```
"""


def write_checkout(root: Path, *, results: str = RESULTS) -> None:
    """Everything `build_book` reads, with prose of our own."""
    for name in ("data_manifest.yaml", "_config.yml"):
        shutil.copy(REPOSITORY / name, root)
    shutil.copytree(REPOSITORY / "profiles", root / "profiles")
    shutil.copytree(REPOSITORY / "book" / "_static", root / "book" / "_static")
    (root / "_toc.yml").write_text(
        "format: jb-book\nroot: book/index\nchapters:\n- file: book/chapters/results\n"
        "- file: notebooks/01_demo\n- file: book/chapters/references\n"
    )
    (root / "book" / "chapters").mkdir()
    (root / "book" / "index.md").write_text(INDEX)
    (root / "book" / "chapters" / "results.md").write_text(results)
    (root / "book" / "chapters" / "references.md").write_text("# References\n\n```{bibliography}\n```\n")
    (root / "book" / "references.bib").write_text(
        "@article{doe, title={A}, author={Doe, Jane}, journal={J}, year={2020}}\n"
    )


def write_results(study_dir: Path) -> None:
    """A record, and the executed notebook that would have made it."""
    step = Step("01_demo", study_dir=study_dir)
    step.number("cohort.demo.n_images", 1000)
    step.number("best.demo.name", "VGG16, frozen")
    estimate = Estimate(
        name="AUC",
        estimate=0.8903,
        low=0.868,
        high=0.911,
        method="bootstrap <of patients>",
        n={"images": 1000},
    )
    for model in ("metadata", "vgg16_frozen"):
        for metric in METRICS:
            step.number(f"cv.demo.{model}.{metric}", estimate)
    frame = pd.DataFrame({"label": ["VGG16, frozen"], "estimate": [0.89], "low": [0.868], "high": [0.911]})
    figure = step.figure(
        "auc", figures.forest(frame, xlabel="AUC (95 % CI)"), alt="AUC 0.890", caption="AUC.", data=frame
    )
    wide = pd.DataFrame({"Model": ["VGG16, frozen"]} | {metric: [estimate] for metric in METRICS})
    table = step.table("performance", wide, caption="Performance, with 95 % intervals.")
    step.save()

    output = nbformat.v4.new_output
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell(
                "# Demo\n\nOf {num}`cohort.demo.n_images` images, $x_i$ are read {cite:p}`doe`."
            ),
            nbformat.v4.new_code_cell(
                "shown", outputs=[output("display_data", data={"text/html": figure._repr_html_()})]
            ),
            nbformat.v4.new_code_cell(
                "listed", outputs=[output("display_data", data={"text/html": table._repr_html_()})]
            ),
            nbformat.v4.new_code_cell("chatty", outputs=[output("stream", name="stdout", text="epoch 1")]),
        ],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    (study_dir / "environment.json").write_text(json.dumps({"python": "3.11.7", "cores": 2}))
    (study_dir / "profile.yaml").write_text("description: demo\nnotebooks: {01_demo: {n_images: 1000}}\n")
    folder = study_dir / "notebooks"
    folder.mkdir()
    nbformat.write(notebook, folder / "01_demo.ipynb")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Checkout whose `tiny` profile was run, not yet built."""
    monkeypatch.setenv("RADTRANSFER_ROOT", str(tmp_path))
    monkeypatch.setenv("RADTRANSFER_WORK", str(tmp_path / "work"))
    write_checkout(tmp_path)
    write_results(tmp_path / "work" / "study" / "tiny")
    return tmp_path


@pytest.fixture(scope="session")
def book(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """HTML of the book of a profile that may not be published; built once for all workers."""
    base = tmp_path_factory.getbasetemp()
    root = (base if worker_id == "master" else base.parent) / "book"
    with FileLock(f"{root}.lock"):
        html = root / "work" / "book" / "tiny" / "html"
        if not html.is_dir():
            root.mkdir()
            # the session's other tests must not see this checkout
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("RADTRANSFER_ROOT", str(root))
                patch.setenv("RADTRANSFER_WORK", str(root / "work"))
                write_checkout(root)
                write_results(root / "work" / "study" / "tiny")
                assert build_book("tiny") == html
    return html
