"""The command line on real files in real processes: values, JSON, plain tables, one-line errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from radtransfer.stats import auc, paired, proportions
from radtransfer.stats.agreement import cohen_kappa, fleiss_kappa, gwet_ac1, rating_counts
from radtransfer.stats.calibration import brier_score, calibration_slope
from radtransfer.stats.commands import app
from radtransfer.stats.discrepancy import discrepancy_regression
from radtransfer.stats.mrmc import ReaderStudy, obuchowski_rockette, u_statistics
from radtransfer.stats.net_benefit import net_benefit

Run = Callable[..., subprocess.CompletedProcess[str]]


def process(*arguments: object) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, as a user starts it."""
    code = "from radtransfer.stats.commands import app; app(prog_name='radtransfer stats')"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=os.environ | {"COLUMNS": "60"},
    )


def call(*arguments: object) -> dict[str, Any]:
    """JSON of a command run in this process."""
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)  # type: ignore[no-any-return]


def refused(*arguments: object) -> str:
    """The one line of an error."""
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.startswith("error: ")
    return result.stderr


@pytest.fixture
def cohort(tmp_path: Path) -> tuple[Path, pd.DataFrame]:
    rng = np.random.default_rng(0)
    n = 160
    truth = rng.integers(0, 2, n)
    frame = pd.DataFrame(
        {
            "patient_id": [f"p{i // 2}" for i in range(n)],
            "truth": truth,
            "diagnosis": np.where(truth == 1, "pneumonia", "normal"),
            "probability": np.round(1 / (1 + np.exp(-rng.normal(truth * 1.5 - 0.75, 1))), 4),
            "other": np.round(rng.random(n), 4),
            "view": rng.choice(["AP", "PA", "lateral"], n),
            "age": rng.integers(18, 80, n),
        }
    )
    for reader in "ABC":
        frame[f"reader_{reader}"] = np.where(rng.random(n) < 0.8, truth, 1 - truth)
    path = tmp_path / "cohort.csv"
    frame.to_csv(path, index=False)
    return path, frame


@pytest.fixture
def readings(tmp_path: Path) -> tuple[Path, pd.DataFrame]:
    rng = np.random.default_rng(1)
    rows = [
        (f"r{j}", f"m{i}", f"c{k}", int(k < 15), round(float(rng.normal((k < 15) * (1 + 0.4 * i))), 2))
        for j in range(4)
        for i in range(2)
        for k in range(35)
    ]
    frame = pd.DataFrame(rows, columns=["reader", "modality", "case", "truth", "rating"])
    path = tmp_path / "readings.csv"
    frame.sample(frac=1, random_state=2).to_csv(path, index=False)
    return path, frame


MRMC = (
    "--reader",
    "reader",
    "--modality",
    "modality",
    "--case",
    "case",
    "--truth",
    "truth",
    "--rating",
    "rating",
)


# --- processes --------------------------------------------------------------------------------------------


@pytest.mark.shared
def test_van_dyke_from_the_command_line(shared_oracles: Path) -> None:
    arguments = [value.replace("modality", "treatment") if value == "modality" else value for value in MRMC]
    options = ["--covariance", "jackknife", "--readers", "random", "--cases", "random", "--json"]
    done = process("mrmc", "--input", shared_oracles / "data" / "vandyke.csv", *arguments, *options)
    assert (done.returncode, done.stderr) == (0, "")
    got = json.loads(done.stdout)
    assert got["statistic"] == pytest.approx(4.456319, abs=5e-7)
    assert got["df1"] == 1
    assert got["df2"] == pytest.approx(15.25967, abs=5e-6)
    assert got["p_value"] == pytest.approx(0.051666, abs=5e-7)
    assert got["difference"]["estimate"] == pytest.approx(-0.0438003220611916, abs=1e-12)
    assert got["difference"]["low"] == pytest.approx(-0.0879594985665545, abs=1e-9)
    assert got["difference"]["high"] == pytest.approx(0.000358854444171379, abs=1e-9)
    assert (got["n_cases"], got["n_readers"]) == (114, 5)
    assert got["readers"][0] == {"reader": "1", "modality": "1", "auc": pytest.approx(0.919645732689211)}
    assert len(got["readers"]) == 10
    assert got["components"]["cov1"] == pytest.approx(0.000346613709440729)
    assert "jackknife" in got["method"]


def test_plain_tables_without_a_terminal(readings: tuple[Path, pd.DataFrame]) -> None:
    done = process("mrmc", "--input", readings[0], *MRMC)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert "│" not in done.stdout
    assert "reader r0" in done.stdout
    assert any(line.startswith("m0 - m1") and " to " in line for line in done.stdout.splitlines())


def test_errors_of_a_process(tmp_path: Path) -> None:
    done = process("auc", "--input", tmp_path / "absent.csv", "--truth", "y", "--score", "s")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {tmp_path / 'absent.csv'}: no such file\n"
    done = process("auc", "--truth", "y")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "--input" in done.stderr


def test_commands_start_without_the_heavy_libraries() -> None:
    heavy = ("keras", "tensorflow")
    code = f"import sys, radtransfer.stats.commands; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- the commands say what the library says ---------------------------------------------------------------


def assert_same(got: dict[str, Any], expected: Any) -> None:
    assert got["estimate"] == pytest.approx(expected.estimate)
    for key in ("low", "high", "p_value"):
        value = getattr(expected, key)
        assert got[key] == (None if value is None else pytest.approx(value))
    assert got["method"] == expected.method
    assert isinstance(got["n"], int)


def test_auc(cohort: tuple[Path, pd.DataFrame]) -> None:
    path, frame = cohort
    base = ("auc", "--input", path, "--truth", "truth", "--score", "probability")
    assert_same(call(*base), auc.auc(frame["truth"], frame["probability"]))
    assert call(*base)["n"] == 160
    assert_same(
        call(*base, "--interval", "logit"), auc.auc(frame["truth"], frame["probability"], interval="logit")
    )
    clustered = auc.clustered_auc(frame["truth"], frame["probability"], cluster=frame["patient_id"])
    assert_same(call(*base, "--cluster", "patient_id"), clustered)
    named = call(*base[:3], "--truth", "diagnosis", "--positive", "pneumonia", "--score", "probability")
    assert named == call(*base)


def test_compare_auc(cohort: tuple[Path, pd.DataFrame]) -> None:
    path, frame = cohort
    base = (
        "compare-auc",
        "--input",
        path,
        "--truth",
        "truth",
        "--score-a",
        "probability",
        "--score-b",
        "other",
    )
    assert_same(call(*base), auc.compare_auc(frame["truth"], frame["probability"], frame["other"]))
    clustered = call(*base, "--cluster", "patient_id")
    assert clustered["counts"]["clusters"] == 80


def test_proportion(cohort: tuple[Path, pd.DataFrame]) -> None:
    path, frame = cohort
    base = ("proportion", "--input", path, "--decision", "reader_A")
    y, call_a = frame["truth"], frame["reader_A"]
    assert call(*base)["estimate"] == pytest.approx(call_a.mean())
    counts = proportions.confusion_counts(y, call_a)
    for measure, expected in proportions.diagnostic_accuracy(**counts).items():
        if measure in ("prevalence", "f1"):
            continue
        assert expected is not None
        got = call(*base, "--truth", "truth", "--measure", measure)
        assert (got["estimate"], got["low"], got["high"]) == pytest.approx(
            (expected.estimate, expected.low, expected.high)
        )
    exact = call(*base, "--truth", "truth", "--measure", "sensitivity", "--method", "clopper_pearson")
    assert "Clopper-Pearson" in exact["method"]
    clustered = call(*base, "--truth", "truth", "--measure", "sensitivity", "--cluster", "patient_id")
    assert clustered["details"]["design_effect"] > 0


def test_mcnemar(cohort: tuple[Path, pd.DataFrame]) -> None:
    path, frame = cohort
    base = ("mcnemar", "--input", path, "--decision-a", "reader_A", "--decision-b", "reader_B")
    b, c, n = paired.discordant_pairs(frame["reader_A"], frame["reader_B"])
    assert_same(call(*base), paired.mcnemar(b, c, n=n))
    sick = frame[frame["truth"] == 1]
    b, c, n = paired.discordant_pairs(sick["reader_A"], sick["reader_B"])
    got = call(*base, "--truth", "truth", "--measure", "sensitivity", "--test", "midp")
    assert_same(got, paired.mcnemar(b, c, n=n, method="midp"))
    assert got["n"] == len(sick)
    got = call(*base, "--truth", "truth", "--cluster", "patient_id")
    right = [(frame[f"reader_{r}"] == frame["truth"]).astype(int) for r in "AB"]
    assert_same(got, paired.clustered_mcnemar(*right, cluster=frame["patient_id"]))


def test_kappa(cohort: tuple[Path, pd.DataFrame]) -> None:
    path, frame = cohort
    base = ("kappa", "--input", path, "--rater-a", "reader_A", "--rater-b", "reader_B")
    got = call(*base)
    assert_same(got, cohen_kappa(frame["reader_A"], frame["reader_B"]))
    counts, _ = rating_counts(frame[["reader_A", "reader_B"]].to_numpy())
    frame.assign(reader_B=frame["reader_B"].astype(float)).to_csv(path, index=False)
    assert call(*base) == got  # 1 and 1.0 are one category
    assert got["gwet_ac1"]["estimate"] == pytest.approx(gwet_ac1(counts).estimate)
    assert got["percent_agreement"] == pytest.approx(100 * (frame["reader_A"] == frame["reader_B"]).mean())
    weighted = call(*base, "--weights", "linear", "--labels", "0,1,2", "--cluster", "patient_id")
    expected = cohen_kappa(
        frame["reader_A"],
        frame["reader_B"],
        weights="linear",
        labels=[0, 1, 2],
        cluster=frame["patient_id"],
    )
    assert_same(weighted, expected)


def test_fleiss_wide_and_long_agree(cohort: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    path, frame = cohort
    wide = ("fleiss", "--input", path, "--raters", "reader_A,reader_B, reader_C")
    counts, _ = rating_counts(frame[["reader_A", "reader_B", "reader_C"]].to_numpy())
    assert_same(call(*wide), fleiss_kappa(counts))
    table = frame[["reader_A", "reader_B", "reader_C"]].reset_index(names="subject")
    table.melt("subject", var_name="who", value_name="rating").to_csv(tmp_path / "long.csv", index=False)
    long = (
        "fleiss",
        "--input",
        tmp_path / "long.csv",
        "--subject",
        "subject",
        "--rater",
        "who",
        "--rating",
        "rating",
    )
    assert call(*long)["estimate"] == pytest.approx(call(*wide)["estimate"])
    for coefficient in ("ac1", "conger", "krippendorff"):
        assert -1 <= call(*wide, "--coefficient", coefficient)["estimate"] <= 1


@pytest.mark.shared
def test_missing_ratings(shared_oracles: Path) -> None:
    base = ("fleiss", "--input", shared_oracles / "data" / "irrcac_raw4raters.csv")
    raters = ("--raters", "Rater1,Rater2,Rater3,Rater4")
    assert "equal numbers" in refused(*base, *raters)
    for coefficient, value in (("ac1", 0.77544), ("conger", 0.76282), ("krippendorff", 0.74342)):
        assert call(*base, *raters, "--coefficient", coefficient)["estimate"] == pytest.approx(
            value, abs=5e-6
        )


def test_mrmc(readings: tuple[Path, pd.DataFrame]) -> None:
    path, frame = readings
    study = ReaderStudy.from_long(**{name: frame[name] for name in frame})
    expected = obuchowski_rockette(study, covariance="delong", readers="fixed")
    got = call("mrmc", "--input", path, *MRMC, "--covariance", "delong", "--readers", "fixed")
    assert got == json.loads(expected.to_json())
    assert got["df2"] is None
    got = call("mrmc", "--input", path, *MRMC, "--analysis", "ustat")
    assert got["p_value"] == pytest.approx(u_statistics(study).p_value)
    got = call("mrmc", "--input", path, *MRMC, "--metric", "sensitivity", "--threshold", "0.5")
    assert "sensitivity" in got["readers"][0]
    assert call("mrmc", "--input", path, *MRMC, "--analysis", "dbm")["statistic_name"] == "F"


def test_calibration(cohort: tuple[Path, pd.DataFrame]) -> None:
    path, frame = cohort
    got = call("calibration", "--input", path, "--truth", "truth", "--probability", "probability")
    assert_same(got, calibration_slope(frame["truth"], frame["probability"]))
    assert got["brier"]["estimate"] == pytest.approx(
        brier_score(frame["truth"], frame["probability"]).estimate
    )
    assert got["hosmer_lemeshow"]["df"] == 8
    assert sum(point["n"]["cases"] for point in got["reliability"]) == 160


def test_net_benefit(cohort: tuple[Path, pd.DataFrame]) -> None:
    path, frame = cohort
    base = ("net-benefit", "--input", path, "--truth", "truth", "--probability", "probability")
    got = call(*base, "--threshold", "0.2,0.5", "--against", "other")
    assert got["estimate"] == pytest.approx(
        net_benefit(frame["truth"], frame["probability"], threshold=0.2).estimate
    )
    assert [row["threshold"] for row in got["curve"]] == [0.2, 0.5]
    assert 0 <= got["p_value"] <= 1


def test_discrepancy(cohort: tuple[Path, pd.DataFrame]) -> None:
    path, frame = cohort
    base = ("discrepancy", "--input", path, "--predictors", "age,view", "--cluster", "patient_id")
    got = call(*base, "--decision-a", "reader_A", "--decision-b", "reader_B")
    differs = (frame["reader_A"] != frame["reader_B"]).astype(int)
    x = np.column_stack([frame["age"], frame["view"] == "PA", frame["view"] == "lateral"])
    expected = discrepancy_regression(differs, x, cluster=frame["patient_id"])
    assert [term["estimate"] for term in got["terms"]] == pytest.approx(
        [term.estimate for term in expected.terms]
    )
    assert [term["name"] for term in got["terms"]] == ["intercept", "age", "view=PA", "view=lateral"]
    assert got["separated"] is False
    separated = call("discrepancy", "--input", path, "--outcome", "truth", "--predictors", "diagnosis")
    assert separated["separated"] is True
    assert "Firth" in separated["method"]


@pytest.mark.parametrize(
    "command",
    [
        ["auc", "--truth", "truth", "--score", "probability"],
        ["compare-auc", "--truth", "truth", "--score-a", "probability", "--score-b", "other"],
        ["proportion", "--decision", "reader_A"],
        ["mcnemar", "--decision-a", "reader_A", "--decision-b", "reader_B"],
        ["kappa", "--rater-a", "reader_A", "--rater-b", "reader_B"],
        ["fleiss", "--raters", "reader_A,reader_B,reader_C"],
        ["calibration", "--truth", "truth", "--probability", "probability"],
        ["net-benefit", "--truth", "truth", "--probability", "probability", "--threshold", "0.3"],
        ["discrepancy", "--outcome", "truth", "--predictors", "age"],
    ],
)
def test_every_command_prints_a_table(cohort: tuple[Path, pd.DataFrame], command: Sequence[str]) -> None:
    result = CliRunner().invoke(app, [*command, "--input", str(cohort[0])])
    assert result.exit_code == 0, result.output
    assert "95% interval" in result.stdout
    assert "nan" not in result.stdout.lower()


# --- errors -----------------------------------------------------------------------------------------------

AUC = ("--truth", "y", "--score", "s")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("y,s\n", "no rows"),
        ("y,s\n0,1\n0,2\n", "one class"),
        ("y,s\n0,1\n1,\n", "line 3"),
        ("y,s\n0,1\n1,NaN\n", "line 3"),
        ("y,s\n0,1\n1,high\n", "'high' in column 's', line 3, is not a number"),
        ("y,s\n0,1\n1,inf\n", "infinite on line 3"),
        ("y,s\n0,1\n-1,2\n1,3\n", "'-1' in column 'y', line 3"),
        ("y,s\nyes,1\nno,2\n", "--positive"),
        ("y,score\n0,1\n1,2\n", "no column 's' (did you mean 'score'?)"),
        ("y;s\n0;1\n1;2\n", "no column 'y'"),
        ('y,s\n0,1\n1,2,3,4\n"', "not a CSV table"),
        ("y,s\n0,1\n1,\x002\n", "error"),
    ],
)
def test_wrong_files_are_refused_in_one_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "data.csv"
    path.write_text(content)
    assert message in refused("auc", "--input", path, *AUC)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(b"\x89PNG\r\n\xff\xfe\x00")
    assert "UTF-8" in refused("auc", "--input", path, *AUC)
    assert "no such file" in refused("auc", "--input", tmp_path, *AUC)


def test_statistics_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("y,p,a,b,c\n0,0.3,1,1,1\n1,0.3,1,1,1\n0,0.3,1,1,1\n1,0.3,1,1,1\n")
    assert "AC1" in refused("kappa", "--input", path, "--rater-a", "a", "--rater-b", "b")
    assert "AC1" in refused("fleiss", "--input", path, "--raters", "a,b,c")
    assert "constant" in refused("calibration", "--input", path, "--truth", "y", "--probability", "p")
    assert "0/0" in refused(
        "proportion", "--input", path, "--decision", "a", "--truth", "a", "--measure", "specificity"
    )
    assert "nothing to explain" in refused(
        "discrepancy", "--input", path, "--outcome", "a", "--predictors", "p"
    )
    assert "threshold" in refused(
        "net-benefit", "--input", path, "--truth", "y", "--probability", "p", "--threshold", "1"
    )
    path.write_text("y,p\n0,0.2\n1,1.7\n")
    assert "not a probability" in refused(
        "calibration", "--input", path, "--truth", "y", "--probability", "p"
    )


def test_wrong_reader_studies_are_refused(readings: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    path = tmp_path / "changed.csv"
    frame = readings[1]
    base = ("mrmc", "--input", path, *MRMC)
    frame.iloc[1:].to_csv(path, index=False)
    assert "complete readings" in refused(*base, "--covariance", "delong")
    assert "balanced" in refused(*base, "--analysis", "dbm")
    assert 0 < call(*base, "--analysis", "ustat")["p_value"] <= 1
    pd.concat([frame, frame.iloc[[0]]]).to_csv(path, index=False)
    assert "two ratings" in refused(*base)
    frame[frame["modality"] == "m0"].to_csv(path, index=False)
    assert "nothing to compare" in refused(*base)
    frame[frame["reader"] == "r0"].to_csv(path, index=False)
    assert "one reader" in refused(*base)
    frame[frame["truth"] == 1].to_csv(path, index=False)
    assert "one class" in refused(*base)
    frame.assign(rating=1).to_csv(path, index=False)
    assert call(*base)["p_value"] == 1.0
    assert "both fixed" in refused(
        "mrmc", "--input", readings[0], *MRMC, "--readers", "fixed", "--cases", "fixed"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fleiss", "--raters", "reader_A"], "fewer than two columns"),
        (["fleiss", "--subject", "patient_id"], "--raters"),
        (["fleiss", "--subject", "patient_id", "--rater", "view", "--rating", "truth"], "two ratings"),
        (
            ["fleiss", "--raters", "reader_A,reader_B", "--coefficient", "conger", "--cluster", "view"],
            "--cluster",
        ),
        (["net-benefit", "--truth", "truth", "--probability", "other", "--threshold", "high"], "numbers"),
        (["discrepancy", "--predictors", "age"], "--outcome"),
        (["discrepancy", "--outcome", "truth", "--predictors", " , "], "names no column"),
        (["discrepancy", "--outcome", "truth", "--predictors", "patient_id"], "at most 20"),
        (["auc", "--truth", "diagnosis", "--positive", "tumour", "--score", "other"], "no 'tumour'"),
        (["auc", "--truth", "truth", "--score", "other", "--level", "95"], "level"),
        (["kappa", "--rater-a", "reader_A", "--rater-b", "reader_B", "--labels", "0,2"], "labels"),
    ],
)
def test_options_that_make_no_sense(
    cohort: tuple[Path, pd.DataFrame], arguments: Sequence[str], message: str
) -> None:
    assert message in refused(*arguments, "--input", cohort[0])


def test_a_test_that_does_not_exist_leaves_the_rest_standing(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("y,p\n" + "0,0.2\n1,0.2\n0,0.6\n1,0.6\n1,0.6\n" * 4)
    got = call("calibration", "--input", path, "--truth", "y", "--probability", "p")
    assert got["hosmer_lemeshow"] is None
    assert "no test" in got["notes"][0]


def test_usage_errors_are_one_line() -> None:
    assert "No such command" in refused("aucs")
    assert "--covariance" in refused("mrmc", "--input", "x", *MRMC, "--covariance", "guess")
    assert "No such option" in refused("kappa", "--colour", "red")
