"""Algorithms against readers: planted truths, hand-made cases, and the library's own parts."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radtransfer.errors import DataError, InputError
from radtransfer.readers.comparison import (
    MAJORITY,
    METRICS,
    RULES,
    STANDARD,
    Comparison,
    FindingPanel,
    compare,
    fold_numbers,
    height_over_curve,
    kappas,
    matched_decisions,
    panel_difference,
    rule_out_decisions,
)
from radtransfer.readers.phantoms import PanelSpec, reader_panel
from radtransfer.stats.agreement import cohen_kappa
from radtransfer.stats.mrmc import ReaderStudy, standalone_vs_readers


@pytest.fixture(scope="module")
def large() -> FindingPanel:
    spec = PanelSpec(n_cases=20_000, sensitivity=0.65, specificity=0.9, ai_auc=0.93, seed=11)
    return FindingPanel.of(reader_panel(spec), "Finding A", seed=2)


def test_planted_accuracy_is_recovered(large: FindingPanel) -> None:
    positive = large.y == 1
    n1, n0 = positive.sum(), (~positive).sum()
    for decision in large.decisions:
        # 4 standard errors
        assert decision[positive].mean() == pytest.approx(0.65, abs=4 * np.sqrt(0.65 * 0.35 / n1))
        assert decision[~positive].mean() == pytest.approx(0.1, abs=4 * np.sqrt(0.09 / n0))
    # binormal: at specificity .9 an AUC of .93 has sensitivity Phi(sqrt(2) Phi^-1(.93) - Phi^-1(.9)) = .7895
    assert large.matched[:, positive].mean() == pytest.approx(0.7895, abs=0.02)
    assert large.matched[:, ~positive].mean() == pytest.approx(0.1, abs=0.005)
    assert large.rule_out[:, positive].mean() == pytest.approx(0.95, abs=0.005)


def test_the_planted_difference_is_in_the_interval(large: FindingPanel) -> None:
    estimate = panel_difference([large], "sensitivity")
    assert estimate.low is not None
    assert estimate.high is not None
    assert estimate.low < 0.7895 - 0.65 < estimate.high
    assert estimate.high - estimate.low < 0.1


def test_no_case_moves_its_own_threshold() -> None:
    rng = np.random.default_rng(0)
    y = (np.arange(200) < 60).astype(int)
    score, reading = rng.random(200) + y, (rng.random(200) < 0.2).astype(float)
    folds = fold_numbers(y, seed=3)
    fold = folds == 4
    for decide in (
        lambda s: matched_decisions(y, s, reading, folds),
        lambda s: rule_out_decisions(y, s, folds),
    ):
        changed = score.copy()
        changed[fold] = -changed[fold]
        before, after = decide(score), decide(changed)
        # the thresholds of the fold come from the others: equal scores, equal decisions, whatever its own are
        order = np.argsort(score[fold])
        assert (np.diff(before[fold][order]) >= 0).all()
        order = np.argsort(changed[fold])
        assert (np.diff(after[fold][order]) >= 0).all()
        cut = score[fold][before[fold] == 1].min(), score[fold][before[fold] == 0].max()
        assert ((changed[fold] >= cut[0]) <= (after[fold] == 1)).all()
        assert ((changed[fold] <= cut[1]) <= (after[fold] == 0)).all()
        # but they do move those of the other folds
        assert (before[~fold] != after[~fold]).any()


def test_folds_spread_the_classes() -> None:
    y = np.array([1] * 25 + [0] * 83)
    folds = fold_numbers(y, seed=0)
    for label in (0, 1):
        sizes = np.bincount(folds[y == label], minlength=10)
        assert sizes.max() - sizes.min() <= 1


def test_height_over_a_curve_by_hand() -> None:
    y = np.array([1, 1, 0, 1, 0, 0])
    score = np.array([6.0, 5, 4, 3, 2, 1])
    # curve: (0, 2/3), (1/3, 1), ...; readers: sensitivity 1/3 at 0, 1 at 1/3, 2/3 at 1/3
    decisions = np.array([[1, 0, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0, 1]])
    assert height_over_curve(y, score, decisions)[0] == pytest.approx([-1 / 3, 0, -1 / 3])
    # without the second case the reader who found the first only is on the curve's first half
    weights = np.array([[1.0, 0, 1, 1, 1, 1]])
    assert height_over_curve(y, score, decisions, weights)[0] == pytest.approx([0, 0, -1 / 2])


def test_height_passes_ties_in_one_step() -> None:
    y, score = np.array([1, 0, 1, 0]), np.array([2.0, 2, 1, 0])
    # a threshold between the two tied cases does not exist: no false positive means sensitivity 0
    assert height_over_curve(y, score, np.array([[1, 0, 0, 0]]))[0] == pytest.approx([0.5])


@given(st.data())
@settings(max_examples=40)
def test_height_is_that_of_the_best_threshold(data: st.DataObject) -> None:
    n = data.draw(st.integers(4, 12))
    y = np.array(data.draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)))
    y[:2] = [0, 1]
    score = np.array(data.draw(st.lists(st.integers(0, 5), min_size=n, max_size=n)), dtype=float)
    decision = np.array(data.draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)))
    alarms = (decision * (1 - y)).sum()
    reachable = [
        ((score >= cut) * y).sum()
        for cut in [*np.unique(score), np.inf]
        if ((score >= cut) * (1 - y)).sum() <= alarms
    ]
    expected = ((decision * y).sum() - max(reachable)) / y.sum()
    assert height_over_curve(y, score, decision[None])[0, 0] == pytest.approx(expected)


def test_kappa_is_the_librarys(large: FindingPanel) -> None:
    a, b = large.decisions[0, :500], large.matched[0, :500]
    got = kappas(a[None].astype(float), b[None].astype(float), np.ones((1, 500)))[0, 0]
    assert got == pytest.approx(cohen_kappa(a, b).estimate, abs=1e-12)
    # a weight of 2 is a case twice
    weights = np.ones((1, 500))
    weights[0, :100] = 2
    twice = np.concatenate([np.arange(500), np.arange(100)])
    got = kappas(a[None].astype(float), b[None].astype(float), weights)[0, 0]
    assert got == pytest.approx(cohen_kappa(a[twice], b[twice]).estimate, abs=1e-12)


@pytest.mark.parametrize(
    ("metric", "readers"), list(product(("sensitivity", "specificity"), ("random", "fixed")))
)
def test_one_algorithm_and_finding_is_the_librarys_comparison(
    phantom: Comparison, metric: str, readers: str
) -> None:
    panel = phantom.panels[0]
    one = replace(panel, models=panel.models[:1], scores=panel.scores[:1], matched=panel.matched[:1])
    study = ReaderStudy(
        panel.decisions[None].astype(float),
        panel.y,
        ("x",),
        panel.readers,
        tuple(map(str, range(len(panel.y)))),
    )
    expected = standalone_vs_readers(
        study,
        algorithm_rating=one.matched[0],
        metric=metric,  # type: ignore[arg-type]
        readers=readers,  # type: ignore[arg-type]
    )
    got = panel_difference([one], metric, readers=readers)  # type: ignore[arg-type]
    for name in ("estimate", "low", "high", "p_value"):
        assert getattr(got, name) == pytest.approx(getattr(expected, name), abs=1e-9)


def test_tables_of_pairs_count_what_they_say(phantom: Comparison) -> None:
    pairs = phantom.pairs
    n_models = len(phantom.panels[0].models)
    assert len(pairs) == 2 * n_models * 4 * 3
    row = pairs.query("finding == 'Finding B' and comparator == 'r2' and metric == 'sensitivity'").iloc[0]
    panel = phantom.panels[1]
    right_ai = (panel.matched[0] == 1)[panel.y == 1]
    right_reader = (panel.decisions[1] == 1)[panel.y == 1]
    assert row["ai_only"] == (right_ai & ~right_reader).sum()
    assert row["difference"] == pytest.approx(right_ai.mean() - right_reader.mean())
    assert (pairs["p_holm"] >= pairs["p_value"]).all()
    for metric in METRICS:
        family = phantom.family(metric)
        assert family["ai_better"] + family["reader_better"] + family["undecided"] == family["size"]
    assert phantom.family("sensitivity")["ai_better"] > phantom.family("sensitivity")["reader_better"] == 0


def test_the_majority_is_compared_as_the_pairs_are(phantom: Comparison) -> None:
    pairs = phantom.pairs.query("comparator == @MAJORITY and metric == 'accuracy'")
    estimate = phantom.majority_difference("accuracy")
    assert estimate.estimate == pytest.approx(pairs["difference"].mean())
    assert estimate.low is not None
    assert estimate.low < estimate.estimate


def test_makers_of_the_standard_are_not_held_against_it(phantom: Comparison) -> None:
    matrix = phantom.kappa_matrix
    makers = [f"g{j}" for j in range(1, 6)]
    assert matrix.loc[makers, STANDARD].isna().all()
    assert matrix.loc[["r1", "r2", "r3", "AI"], STANDARD].notna().all()
    assert set(phantom.operating_points["reader"]) == {"r1", "r2", "r3", MAJORITY}


def test_leave_one_out_by_hand(phantom: Comparison) -> None:
    decisions = phantom.tables.decisions("Finding A", "reference")
    others = decisions[["g2", "g3", "g4", "g5"]].sum(axis=1)
    row = phantom.leave_one_out.query("finding == 'Finding A' and reader == 'g1'").iloc[0]
    assert row["n_ties"] == (others == 2).sum() > 0
    assert row["sensitivity"].estimate == pytest.approx(decisions["g1"][others > 2].mean())


def test_planted_covariate_explains_discrepancies() -> None:
    # devices decorrelate errors, so that readings of them differ more; the second covariate does nothing
    tables = reader_panel(PanelSpec(n_cases=1500, n_models=1, correlation=0.8, seed=8))
    result = compare(tables, n_resamples=2, seed=0).discrepancies
    assert result["support devices"].low is not None
    assert result["support devices"].low > 0


def test_rules_hold_their_bounds(phantom: Comparison) -> None:
    rules = phantom.rules
    assert list(rules.index) == list(RULES)
    value = {
        (rule, metric): rules.loc[rule, metric].estimate  # type: ignore[union-attr]
        for rule in RULES
        for metric in (*METRICS, "readings")
    }
    assert value["either", "sensitivity"] == pytest.approx(value["ceiling", "sensitivity"])
    assert value["both", "specificity"] == pytest.approx(value["ceiling", "specificity"])
    for metric in METRICS:
        assert value["ceiling", metric] == max(
            value[rule, metric] for rule in ("reader", "ai", "either", "both", "triage", "ceiling")
        )
    assert 0 < value["triage", "readings"] < 1 == value["reader", "readings"]
    assert value["triage", "sensitivity"] <= value["reader", "sensitivity"]
    gain = rules.loc["ai", "accuracy_gain"].estimate  # type: ignore[union-attr]
    assert gain == pytest.approx(phantom.difference("accuracy").estimate)


def test_rules_of_one_case_by_hand() -> None:
    panel = FindingPanel(
        finding="x",
        y=np.array([1, 0]),
        readers=("a", "b", "c"),
        decisions=np.array([[1, 0], [0, 0], [0, 1]]),
        models=("m",),
        scores=np.array([[2.0, 1.0]]),
        matched=np.array([[1, 1]]),
        matched_panel=np.array([[1, 1]]),
        rule_out=np.array([[1, 0]]),
    )
    right = {rule: list(parts[0]) for rule, parts in panel.rules().items()}
    assert right == {
        "reader": pytest.approx([1 / 3, 2 / 3]),
        "ai": [1, 0],
        "either": [1, 0],
        "both": pytest.approx([1 / 3, 2 / 3]),
        "triage": pytest.approx([1 / 3, 1]),
        "arbiter": pytest.approx([2 / 3, 1 / 3]),  # a and b, a and c differ on the first case, b and c agree
        "panel": [0, 1],
        "ceiling": pytest.approx([1, 2 / 3]),
    }
    assert list(panel.rules()["triage"][1]) == [1, 0]


def test_identical_algorithms_count_once(phantom: Comparison) -> None:
    assert phantom.tables.distinct_models("Finding A") == {
        "model1": ("model1", "copy_of_model1"),
        "model2": ("model2",),
        "model3": ("model3",),
    }
    assert phantom.tables.not_probabilities() == ("model3",)
    assert phantom.panels[0].models == ("model1", "model2", "model3")


def test_wrong_tables_are_refused() -> None:
    tables = reader_panel(PanelSpec(n_cases=80, seed=1))
    with pytest.raises(DataError, match=r"r1: a decision is neither 0 nor 1"):
        replace(tables, readings={**tables.readings, "r1": tables.readings["r1"] + 1})
    with pytest.raises(DataError, match="model1: cases or findings"):
        replace(tables, scores={"model1": tables.scores["model1"].iloc[::-1]})
    with pytest.raises(DataError, match="model1: a score is missing"):
        replace(tables, scores={"model1": tables.scores["model1"] * np.nan})
    with pytest.raises(DataError, match="role"):
        replace(tables, roles={})
    with pytest.raises(DataError, match="covariates"):
        replace(tables, covariates=pd.DataFrame({"x": [1.0]}))
    with pytest.raises(InputError, match="did you mean 'Finding A'"):
        compare(tables, findings=["Findng A"])
    with pytest.raises(InputError, match="no finding has 25 positive"):
        compare(tables)
    with pytest.raises(InputError, match="two benchmark readers"):
        compare(reader_panel(PanelSpec(n_readers=1)))
    with pytest.raises(InputError, match="ai_auc is 1"):
        PanelSpec(ai_auc=1.0)
