"""The CheXpert readers against reference values computed in R."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from radtransfer.errors import DataError
from radtransfer.readers.chexpert import load
from radtransfer.readers.comparison import Comparison, compare
from radtransfer.readers.tables import ReaderTables

pytestmark = pytest.mark.shared


@pytest.fixture(scope="module")
def tables(shared_data: Path) -> ReaderTables:
    return load(shared_data / "chexpert_readers")


@pytest.fixture(scope="module")
def reference(shared_oracles: Path) -> dict[str, Any]:
    content = json.loads((shared_oracles / "chexpert_reference.json").read_text())
    return {name.replace("_", " "): values for name, values in content["findings"].items()}


@pytest.fixture(scope="module")
def comparison(tables: ReaderTables) -> Comparison:
    return compare(tables, findings=["Edema", "Pleural Effusion"], n_resamples=20, seed=0)


def test_who_is_there(tables: ReaderTables) -> None:
    assert len(tables.truth) == 500
    assert tables.readers("benchmark") == ("bc4", "bc6", "bc8")
    assert tables.readers("reference") == ("bc1", "bc2", "bc3", "bc5", "bc7")
    assert len(tables.scores) == 10
    assert tables.not_probabilities() == ("desmond", "ngango2")
    # 29 consolidations or more; nothing rarer
    assert sorted(tables.findings()) == [
        "Atelectasis",
        "Cardiomegaly",
        "Consolidation",
        "Edema",
        "Pleural Effusion",
    ]


def test_dependence_is_detected(tables: ReaderTables) -> None:
    assert tables.distinct_models("Edema")["drnet"] == ("drnet", "ihil", "sensexdr")
    assert tables.distinct_models("Atelectasis")["drnet"] == ("drnet", "ihil", "sensexdr", "uestc")
    assert len(tables.distinct_models("Cardiomegaly")) == 10


def test_columns_are_joined_by_name(tables: ReaderTables, reference: dict[str, Any]) -> None:
    """Lung Opacity and Lung Lesion stand in another order in the readers' files."""
    assert tables.truth["Lung Lesion"].sum() == 8
    for finding, expected in reference.items():
        y, decisions = tables.truth[finding], tables.decisions(finding)
        for reader, counts in expected["reader"].items():
            assert int((decisions[reader] * y).sum()) == counts["tp"]
            assert int((decisions[reader] * (1 - y)).sum()) == counts["fp"]


def test_auc_and_intervals_are_rs(comparison: Comparison, reference: dict[str, Any]) -> None:
    table = comparison.aucs.set_index(["finding", "model"])["auc"]
    for finding, expected in reference.items():
        for model, values in expected["auc"].items():
            estimate = table[(finding, model)]
            assert estimate.estimate == pytest.approx(values["auc"], abs=1e-12)
            assert [estimate.low, estimate.high] == pytest.approx(values["logit_ci"], abs=1e-9)


def test_wilson_points_are_rs(comparison: Comparison, reference: dict[str, Any]) -> None:
    table = comparison.operating_points.set_index(["finding", "reader"])
    for finding, expected in reference.items():
        for reader in ("bc4", "bc6", "bc8"):
            for metric in ("sensitivity", "specificity"):
                estimate = table[metric][(finding, reader)]
                wilson = expected["reader"][reader][metric]["wilson"]
                assert [estimate.low, estimate.high] == pytest.approx(wilson, abs=1e-9)


def test_points_below_curves_are_rs(comparison: Comparison, reference: dict[str, Any]) -> None:
    table = comparison.below.set_index(["finding", "model", "reader"])
    checked = 0
    for finding, expected in reference.items():
        for model, readers in expected["radiologist_points"].items():
            for reader, point in readers["points"].items():
                if (finding, model, reader) in table.index:
                    key = (finding, model, reader)
                    assert table["below"][key] == point["below"]
                    height = point["tpr"] - point["curve_tpr_at_fpr"]
                    assert table["height"][key] == pytest.approx(height, abs=1e-9)
                    checked += 1
    assert checked == 3 * (8 + 7)


def test_fleiss_is_rs(comparison: Comparison, reference: dict[str, Any]) -> None:
    table = comparison.panel_agreement.set_index("finding")
    for finding, expected in reference.items():
        for role, key in (("reference", "five"), ("benchmark", "three")):
            got = table.loc[finding, f"fleiss_{role}"].estimate  # type: ignore[union-attr]
            assert got == pytest.approx(expected["fleiss"][key]["kappa"], abs=1e-9)


def test_an_altered_standard_is_refused(shared_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(shared_data / "chexpert_readers", folder, copy_function=shutil.copyfile)
    path = folder / "groundtruth.csv"
    text = path.read_text()
    path.chmod(0o644)
    path.write_text(text.replace(",1\n", ",0\n", 1))
    with pytest.raises(DataError, match="not the majority of bc1"):
        load(folder)
    path.write_text(text.replace("patient64741", "patient1", 1))
    with pytest.raises(DataError, match="not those of groundtruth"):
        load(folder)
