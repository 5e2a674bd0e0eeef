from __future__ import annotations

from pathlib import Path

import pytest

from radtransfer.errors import InputError
from radtransfer.report.labels import family, model_label
from radtransfer.report.ledger import fill_ledger, load_claims
from radtransfer.report.numbers import Number, Registry
from radtransfer.stats.result import Estimate

CLAIMS = """
- id: C1
  claim: networks beat <baselines>
  paper: 80 % to 90 %
  finding:
    kind: comparison
    differences:
      - {number: diff.t.a.accuracy, weights: weights.w.kind, paper: [0.1, 0.1]}
  section: 04_evaluation
- id: C2
  claim: later
  paper: none
  finding: {kind: open, why: not part of this edition}
- id: C9
  claim: reading time
  paper: 20 %
  finding: {kind: not_testable, why: nobody measured it}
"""


@pytest.fixture
def claims(tmp_path: Path) -> Path:
    path = tmp_path / "claims.yaml"
    path.write_text(CLAIMS)
    return path


def registry(low: float, high: float, start: str = "weights learned on ImageNet") -> Registry:
    estimate = Estimate(name="d", estimate=(low + high) / 2, low=low, high=high, n={"patients": 9})
    return Registry.collect(
        [
            Number(
                key="diff.t.a.accuracy",
                value=estimate.estimate,
                low=low,
                high=high,
                level=0.95,
                n=estimate.n,
                description="Accuracy, A − B",
            ),
            Number(key="weights.w.kind", value=start),
        ]
    )


@pytest.mark.parametrize(
    ("low", "high", "verdict", "size"),
    [
        (0.05, 0.15, "supported", "inside"),
        (0.01, 0.04, "supported", "outside"),
        (-0.01, 0.2, "not supported", "inside"),
        (-0.2, -0.1, "not supported", "outside"),
        (0.0, 0.1, "not supported", "inside"),
    ],
)
def test_the_verdict_follows_the_interval(
    claims: Path, low: float, high: float, verdict: str, size: str
) -> None:
    row = fill_ledger(load_claims(claims), registry(low, high)).rows[0]
    assert row.verdict == verdict
    assert f"lies {size} it" in row.remark


def test_a_difference_that_never_varied_tests_nothing(claims: Path) -> None:
    known = registry(0.05, 0.15)
    number = known.get("diff.t.a.accuracy").model_copy(
        update={"low": None, "high": None, "level": None, "method": "nothing varies"}
    )
    row = fill_ledger(load_claims(claims), Registry.collect([number, known.get("weights.w.kind")])).rows[0]
    assert row.verdict == "not testable"
    assert row.remark == "Accuracy, A − B has no interval: nothing varies"
    assert row.numbers == ()


TWO = """
- id: C3
  claim: networks beat baselines in two measures
  paper: 77 % to 89 %, 79 % to 90 %
  finding:
    kind: comparison
    differences:
      - {number: diff.t.a.sensitivity, weights: weights.w.kind, paper: [0.12, 0.12]}
      - {number: diff.t.a.specificity, weights: weights.w.kind, paper: [0.11, 0.11]}
"""


@pytest.mark.parametrize(
    ("lows", "verdict", "remark"),
    [
        ((0.01, 0.02), "supported", "2 of 2 intervals lie above zero; the paper's gain lies inside 2 of 2"),
        ((0.01, -0.02), "partly supported", "1 of 2 intervals lie above zero"),
        ((-0.01, -0.02), "not supported", "0 of 2 intervals"),
    ],
)
def test_a_claim_of_two_measures_needs_both(
    tmp_path: Path, lows: tuple[float, float], verdict: str, remark: str
) -> None:
    path = tmp_path / "claims.yaml"
    path.write_text(TWO)
    numbers = [
        Number(key=f"diff.t.a.{name}", value=0.1, low=low, high=0.2, level=0.95, n={"patients": 9})
        for name, low in zip(("sensitivity", "specificity"), lows, strict=True)
    ]
    start = Number(key="weights.w.kind", value="weights learned on ImageNet")
    ledger = fill_ledger(load_claims(path), Registry.collect([*numbers, start]))
    assert ledger.rows[0].verdict == verdict
    assert remark in ledger.rows[0].remark
    assert [number.key for number in ledger.rows[0].numbers] == [number.key for number in numbers]
    html = ledger._repr_html_()
    assert html.count("95 % CI") == 2
    assert html.count("9 patients") == 1  # of both alike


def test_without_imagenet_nothing_was_transferred(claims: Path) -> None:
    ledger = fill_ledger(load_claims(claims), registry(0.1, 0.2, start="random numbers"))
    assert ledger.rows[0].verdict == "not testable"
    assert ledger.rows[0].numbers == ()
    assert ledger.count("not testable") == 2


def test_the_table_escapes_text_and_links_to_the_evidence(claims: Path) -> None:
    html = fill_ledger(load_claims(claims), registry(0.1, 0.2))._repr_html_()
    assert "&lt;baselines&gt;" in html
    assert 'href="04_evaluation.html"' in html
    assert "0.150 (95 % CI 0.100 to 0.200)" in html


def test_a_number_that_nobody_recorded_is_named(claims: Path) -> None:
    with pytest.raises(InputError, match="diff"):
        fill_ledger(load_claims(claims), Registry.collect([Number(key="weights.w.kind", value="ImageNet")]))


def test_a_misspelt_field_names_claim_and_field(claims: Path) -> None:
    claims.write_text(CLAIMS.replace("paper: none", "papr: none"))
    with pytest.raises(InputError, match=r"C2.*pap"):
        load_claims(claims)


def test_the_books_own_claims_are_eleven_and_valid() -> None:
    assert [claim.id for claim in load_claims()] == [f"C{i}" for i in range(1, 12)]


def test_random_weights_are_never_called_transfer() -> None:
    assert "no transfer" in model_label("vgg16_frozen", "random")
    assert model_label("vgg16_frozen", "imagenet") == "VGG16, frozen"
    assert family("custom_cnn_scratch") == "scratch"
    assert family("thumbnail32") == "shortcut"


EQUAL = """
- id: C8
  claim: networks equal readers
  paper: 500 cases
  finding: {kind: noninferiority, number: r.difference, margin: r.margin, source: r.source}
  caveat: by others' networks
"""


@pytest.mark.parametrize(
    ("low", "source", "verdict"),
    [
        (-0.049, "radiologists", "supported"),
        (-0.05, "radiologists", "not supported"),
        (0.01, "radiologists", "supported"),
        (0.01, "phantom readers", "not testable"),
    ],
)
def test_being_as_good_is_judged_by_the_margin(tmp_path: Path, low: float, source: str, verdict: str) -> None:
    path = tmp_path / "claims.yaml"
    path.write_text(EQUAL)
    numbers = Registry.collect(
        [
            Number(key="r.difference", value=0.02, low=low, high=0.08, level=0.95),
            Number(key="r.margin", value=0.05, digits=2),
            Number(key="r.source", value=source),
        ]
    )
    row = fill_ledger(load_claims(path), numbers).rows[0]
    assert row.verdict == verdict
    assert (row.numbers == ()) == (verdict == "not testable")
    if verdict != "not testable":
        assert "the margin fixed beforehand; by others' networks" in row.remark


def test_being_as_good_needs_an_interval(tmp_path: Path) -> None:
    path = tmp_path / "claims.yaml"
    path.write_text(EQUAL)
    values = {"r.difference": 0.02, "r.margin": 0.05, "r.source": "radiologists"}
    numbers = Registry.collect([Number(key=key, value=value) for key, value in values.items()])
    with pytest.raises(InputError, match=r"C8: r\.difference has no interval"):
        fill_ledger(load_claims(path), numbers)


NO_GAP = """
- id: C7
  claim: patients do not differ
  paper: no disparity
  finding: {kind: no_gap, gaps: [gap.sex.auc, gap.age.auc], margin: gap.margin}
  section: 08_bias_subgroups
"""


@pytest.mark.parametrize(
    ("highs", "p_values", "verdict", "remark"),
    [
        ((0.04, 0.03), (0.9, 1.0), "supported", "2 of 2 intervals end below"),
        ((0.04, 0.08), (0.9, 0.06), "partly supported", "1 of 2"),
        # nothing significant, and nothing known either
        ((0.2, 0.08), (0.9, 1.0), "not supported", "which is not enough"),
        ((None, None), (None, None), "not supported", "0 of 2"),
        ((None, 0.03), (None, 1.0), "partly supported", "1 of 2"),
        # too small to matter by the margin, but found: the claim says that there is none
        ((0.04, 0.03), (0.04, 1.0), "not supported", "significant gaps: AUC by sex"),
    ],
)
def test_no_significant_gap_is_not_no_gap(
    tmp_path: Path,
    highs: tuple[float | None, ...],
    p_values: tuple[float | None, ...],
    verdict: str,
    remark: str,
) -> None:
    path = tmp_path / "claims.yaml"
    path.write_text(NO_GAP)
    numbers = [Number(key="gap.margin", value=0.05)]
    for name, high, p_value in zip(("sex", "age"), highs, p_values, strict=True):
        numbers.append(
            Number(
                key=f"gap.{name}.auc",
                value=0.02,
                low=None if high is None else 0.0,
                high=high,
                level=None if high is None else 0.95,
                p_value=p_value,
                description=f"AUC by {name}",
            )
        )
    (row,) = fill_ledger(load_claims(path), Registry.collect(numbers)).rows
    assert row.verdict == verdict
    assert remark in row.remark
