"""Designs, forms and the analysis of reads, with planted effects."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from radtransfer.errors import InputError
from radtransfer.readers.assistance import analyse, crossed_mean, load_truth
from radtransfer.readers.commands import app
from radtransfer.readers.design import phantom_lists, reading_lists
from radtransfer.readers.phantoms import AssistanceSpec, read_lists

SPEC = AssistanceSpec(n_cases=120, n_readers=6, seed=4)


@pytest.fixture(scope="module")
def study() -> tuple[pd.DataFrame, pd.Series]:
    lists, truth = phantom_lists(SPEC)
    return read_lists(lists, truth, SPEC), truth


def test_lists_are_a_balanced_crossover() -> None:
    cases = [f"c{i}" for i in range(41)]
    truth = [int(i < 13) for i in range(41)]
    lists = reading_lists(cases, ["a", "b", "c", "d"], seed=1, truth=truth)
    assert len(lists) == 4 * 2 * 41
    for _, mine in lists.groupby("reader"):
        assert (mine.groupby("case")["condition"].nunique() == 2).all()
        assert (mine.groupby("case")["session"].nunique() == 2).all()
        for _, session in mine.groupby("session"):
            assert sorted(session["position"]) == list(range(1, 42))
            assert (session.groupby("block")["condition"].nunique() == 1).all()
            positive = session["case"].map(dict(zip(cases, truth, strict=True)))
            assisted = session["condition"] == "assisted"
            assert abs(assisted.sum() - (~assisted).sum()) <= 2
            assert abs((assisted & (positive == 1)).sum() - (~assisted & (positive == 1)).sum()) <= 1
    first = lists.query("session == 1 and block == 1").groupby("reader")["condition"].first()
    assert sorted(first) == ["assisted"] * 2 + ["unassisted"] * 2
    orders = {tuple(part["case"]) for _, part in lists.groupby(["reader", "session"])}
    assert len(orders) == 8


def test_lists_follow_the_seed() -> None:
    lists = [reading_lists(["a", "b", "c", "d"], ["r"], seed=seed) for seed in (1, 1, 2)]
    assert lists[0].equals(lists[1])
    assert not lists[0].equals(lists[2])
    with pytest.raises(InputError, match="a case is named twice"):
        reading_lists(["a", "a"], ["r"], seed=0)
    with pytest.raises(InputError, match="two cases"):
        reading_lists(["a"], ["r"], seed=0)


def test_planted_effects_are_recovered(study: tuple[pd.DataFrame, pd.Series]) -> None:
    found = analyse(*study).estimates()
    for name, planted in {"time_ratio": 0.8, "learning": 0.95, "auc": 0.06}.items():
        low, high = found[name].low, found[name].high
        assert low is not None
        assert high is not None
        assert low <= planted <= high
    assert found["time_ratio"].high < 0.85  # type: ignore[operator]
    assert found["confidence"].low > 0  # type: ignore[operator]
    assert found["more_confident"].estimate == 1


def test_nothing_planted_is_rarely_found() -> None:
    nulls = {"auc": 0.0, "time_ratio": 1.0, "learning": 1.0, "confidence": 0.0}
    found = dict.fromkeys(nulls, 0)
    for seed in range(25):
        spec = AssistanceSpec(
            n_cases=40,
            n_readers=4,
            assisted_auc=SPEC.auc,
            time_ratio=1.0,
            learning=1.0,
            confidence_gain=0.0,
            interaction_sd=0.0,
            seed=seed,
        )
        lists, truth = phantom_lists(spec)
        effects = analyse(read_lists(lists, truth, spec), truth).estimates()
        for name, null in nulls.items():
            found[name] += not effects[name].low <= null <= effects[name].high  # type: ignore[operator]
    # more than 5 of 25 at a level of .05 has a probability of .0012
    assert max(found.values()) <= 5


def test_crossed_mean_by_hand() -> None:
    d = pd.DataFrame([[1.0, 2, 3], [3.0, 4, 5]])
    # additive: MS_RC = 0, MS_R = 3 * ((-1)^2 + 1^2) / 1 = 6, MS_C = 2 * (1 + 0 + 1) / 2 = 2
    result = crossed_mean(d, name="x")
    assert result.estimate == 3
    assert result.details["se"] == pytest.approx(np.sqrt((6 + 2) / 6))
    assert result.df == pytest.approx(8**2 / (6**2 / 1 + 2**2 / 2))
    with pytest.raises(InputError, match="has not read case 1 twice"):
        crossed_mean(d.mask(d == 2), name="x")
    with pytest.raises(InputError, match="two of each"):
        crossed_mean(d.iloc[:1], name="x")
    assert crossed_mean(0 * d, name="x").low is None


def test_crossed_mean_covers() -> None:
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(400):
        d = rng.normal(0, 0.5, (6, 1)) + rng.normal(0, 0.5, (1, 30)) + rng.normal(0, 1, (6, 30))
        result = crossed_mean(pd.DataFrame(d), name="x")
        hits += result.low <= 0 <= result.high  # type: ignore[operator]
    # nominal .95; 4 standard errors of 400 draws are .044
    assert 0.906 <= hits / 400 <= 0.994


def change(reads: pd.DataFrame, column: str, value: object) -> pd.DataFrame:
    return reads.assign(**{column: [value, *reads[column].iloc[1:]]})


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("seconds", "", "seconds of reader r1, case .* is empty"),
        ("seconds", "soon", "seconds of reader r1, case .* is 'soon', not a number"),
        ("seconds", 0, "seconds of reader r1"),
        ("confidence", 6, "confidence of reader r1"),
        ("rating", 101, "rating of reader r1"),
        ("decision", 2, "decision of reader r1"),
        ("condition", "helped", "condition of reader r1"),
        ("case", "c", "no reference standard for 1 cases, first c"),
    ],
)
def test_impossible_answers_are_refused(
    study: tuple[pd.DataFrame, pd.Series], column: str, value: object, message: str
) -> None:
    reads, truth = study
    with pytest.raises(InputError, match=message):
        analyse(change(reads, column, value), truth)


def test_missing_and_double_reads_are_refused(study: tuple[pd.DataFrame, pd.Series]) -> None:
    reads, truth = study
    with pytest.raises(InputError, match="twice in one condition"):
        analyse(pd.concat([reads, reads.iloc[:1]]), truth)
    with pytest.raises(InputError, match=r"has not read case \w+ twice"):
        analyse(reads.iloc[1:], truth)
    with pytest.raises(InputError, match="lack the columns seconds"):
        analyse(reads.drop(columns="seconds"), truth)


def test_from_design_over_forms_to_results(tmp_path: Path) -> None:
    run = CliRunner().invoke
    truth = pd.DataFrame({"case": [f"c{i:02d}" for i in range(60)], "truth": [i % 2 for i in range(60)]})
    truth.to_csv(tmp_path / "truth.csv", index=False)
    folder = tmp_path / "study"
    options = ["--output", str(folder), "--cases", str(tmp_path / "truth.csv"), "--readers", "4"]
    result = run(app, ["design", *options, "--seed", "3", "--difference", "0.08"], catch_exceptions=False)
    assert result.exit_code == 0
    design = json.loads((folder / "design.json").read_text())
    assert design["power"] >= 0.8
    assert design["washout_days"] == 28
    assert f"{design['cases_needed']} cases and 4 readers give a power of" in result.output
    forms = sorted((folder / "forms").glob("*.csv"))
    assert len(forms) == 8
    for form in forms:
        assert "truth" not in form.read_text()
    with pytest.raises(InputError, match="session 1 is empty"):
        run(
            app,
            ["analyse", "--reads", str(folder / "forms"), "--truth", str(tmp_path / "truth.csv")],
            catch_exceptions=False,
        )
    lists = pd.read_csv(folder / "reading_lists.csv")
    reads = read_lists(lists, load_truth(tmp_path / "truth.csv"), SPEC)
    for (reader, session), part in reads.groupby(["reader", "session"]):
        part.to_csv(folder / "forms" / f"{reader}_session{session}.csv", index=False)
    result = run(
        app,
        ["analyse", "--reads", str(folder / "forms"), "--truth", str(tmp_path / "truth.csv"), "--json"],
        catch_exceptions=False,
    )
    time = json.loads(result.output)["effects"]["time_ratio"]
    assert time["low"] < 0.8 < time["high"]
    with pytest.raises(InputError, match="exists"):
        run(app, ["design", *options], catch_exceptions=False)


def test_too_few_readers_are_told(tmp_path: Path) -> None:
    arguments = ["design", "--output", str(tmp_path / "x"), "--readers", "2", "--difference", "0.005"]
    with pytest.raises(InputError, match="take more readers"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    with pytest.raises(InputError, match="go together"):
        CliRunner().invoke(app, [*arguments, "--pilot", "x.csv"], catch_exceptions=False)
    assert not (tmp_path / "x").exists()
