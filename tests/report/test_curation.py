"""What the curation chapter shows of a dataset, also of its poor images and of what gives the answer away."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from radtransfer.data.leakage import examine_curated
from radtransfer.data.phantoms import PhantomSpec
from radtransfer.data.store import CuratedDataset, curate
from radtransfer.report import curation, leakage
from radtransfer.report.step import Step
from radtransfer.report.tables import Table


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> CuratedDataset:
    """Phantoms whose site goes with the label, two of them drawn twice."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RADTRANSFER_WORK", str(tmp_path_factory.mktemp("work")))
        return curate(
            "phantom_xray",
            task="pneumonia",
            image_size=48,
            age_min=0,
            age_max=120,
            seed=1,
            phantom=PhantomSpec(n_patients=90, size=48, site_shortcut=0.9, n_near_duplicates=2, seed=3),
        )


@pytest.fixture
def step(tmp_path: Path) -> Step:
    return Step("01_data_curation", study_dir=tmp_path)


def shown(table: Table) -> pd.DataFrame:
    return pd.DataFrame(table.rows, columns=list(table.columns))


def test_parts_hold_every_image_and_class_once(step: Step, dataset: CuratedDataset) -> None:
    table = shown(curation.parts_table(step, dataset)).set_index("Part").astype(int)
    labels = dataset.labels("pneumonia")
    assert table["Images"].sum() == len(labels)
    assert table["Pneumonia"].sum() == labels.sum()
    assert table["No pneumonia"].sum() == (labels == 0).sum()


def test_counts_are_recorded(step: Step, dataset: CuratedDataset) -> None:
    curation.record(step, dataset)
    got = {key.rpartition(".")[2]: number.value for key, number in step.registry().numbers.items()}
    labels = dataset.labels("pneumonia")
    assert got["n_largest_class"] == max(labels.sum(), (1 - labels).sum())
    assert got["n_holdout"] + got["n_cv"] == got["n_images"] == len(labels)


def test_captions_say_where_patients_are_unknown(
    step: Step, dataset: CuratedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "unknown" not in curation.parts_table(step, dataset).caption
    monkeypatch.setattr(CuratedDataset, "patients_known", False)
    assert "groups of similar images are counted" in curation.flow(step, dataset).caption
    assert "groups of similar images are counted" in curation.cohort_table(step, dataset).caption


def test_nothing_to_look_at_is_said(step: Step, dataset: CuratedDataset) -> None:
    table = curation.to_look_at(step, dataset)
    assert isinstance(table, Table)
    assert shown(table)["Number"].tolist() == ["0", "0"]


def test_a_planted_shortcut_is_told_and_the_parts_do_not_leak(step: Step, dataset: CuratedDataset) -> None:
    report = examine_curated(dataset, seed=0)
    table = shown(leakage.findings_table(step, "pneumonia", report))
    flagged = table.loc[table["Flagged"] == "yes", "Finding"]
    assert flagged.str.startswith("site alone tells pneumonia").any()
    assert (flagged.index < len(flagged)).all()  # first
    assert table["Finding"].str.startswith("Our folds: no images of a patient in another part").any()
    leakage.record(step, "pneumonia", report)
    got = {key.rpartition(".")[2]: number for key, number in step.registry().numbers.items()}
    assert got["strongest"].value == "site"
    assert got["n_own"].value == got["n_official"].value == 0
    assert got["n_shortcuts"].value >= 1
    assert 0.8 < got["auc"].low < got["auc"].value < got["auc"].high  # type: ignore[operator]
