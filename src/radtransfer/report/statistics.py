"""Figures, tables and numbers of the chapter on declared families of tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import pandas as pd

from radtransfer.errors import InputError
from radtransfer.evaluation.families import (
    PRIMARY,
    FamilyTests,
    PairTests,
    declare_families,
    examine,
    kappa_with_reference,
)
from radtransfer.report import figures
from radtransfer.report.labels import SHORTCUTS, TRADITIONAL, model_label, primary_network
from radtransfer.report.numbers import format_number
from radtransfer.report.tables import ABSENT

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from radtransfer.data.store import CuratedDataset
    from radtransfer.evaluation.performance import Evaluation
    from radtransfer.report.step import Figure, Step
    from radtransfer.report.tables import Table
    from radtransfer.stats.result import Estimate


def training_images(predictions: pd.DataFrame, dataset: CuratedDataset) -> float:
    """Images that a model was trained on, mean over its folds.

    Parameters
    ----------
    predictions : DataFrame
        Test and validation parts of each fold.
    dataset : CuratedDataset
        Whose folds the models were fitted on.

    Returns
    -------
    float
        All images of the folds without those of test and validation part; the mean over models, too, whose
        validation parts need not be alike.
    """
    held_out = predictions.groupby(["model", "fold", "part"])["image_id"].nunique()
    held_out = held_out.groupby(["model", "fold"]).sum()
    return len(dataset.folds.table) - float(held_out.mean())


@dataclass(frozen=True)
class Results:
    """All families of a task, examined.

    Parameters
    ----------
    evaluation : Evaluation
        What they rest on.
    families : tuple of FamilyTests
        In the order declared.
    kappa : dict of str to Estimate
        Agreement of each model with the reference standard.
    """

    evaluation: Evaluation
    families: tuple[FamilyTests, ...]
    kappa: dict[str, Estimate]

    @classmethod
    def of(cls, evaluation: Evaluation, *, n_train: float) -> Self:
        """Make every test of every family that the study declares.

        Parameters
        ----------
        evaluation : Evaluation
            Evaluated models.
        n_train : float
            See :func:`training_images`.
        """
        declared = declare_families(evaluation.models, traditional=TRADITIONAL, shortcuts=SHORTCUTS)
        families = tuple(examine(evaluation, family, n_train=n_train) for family in declared)
        if not any(result.pairs for result in families):
            raise InputError(
                "no two of the evaluated models make a declared pair",
                hint="evaluate a network and a baseline of the study",
            )
        return cls(evaluation, families, kappa_with_reference(evaluation))

    def label(self, model: str) -> str:
        """Name of a model for readers."""
        return model_label(model, self.evaluation.models[model].weights)

    def rows(self) -> Iterator[tuple[FamilyTests, PairTests, dict[str, dict[Hashable, Any]]]]:
        """Each pair with its family and the p-values of each test: p, holm, bh, verdict."""
        for result in self.families:
            adjusted = {
                test: result.adjusted(test).to_dict("records")
                for test in (result.pairs[0].tests if result.pairs else ())
            }
            for i, pair in enumerate(result.pairs):
                yield result, pair, {test: records[i] for test, records in adjusted.items()}


def _p(value: float) -> str:
    return ABSENT if pd.isna(value) else format_number(float(value), unit="p")


def families_table(step: Step, results: Results) -> Table:
    """What was declared, and how each family came out by its primary test."""
    rows = []
    for result in results.families:
        verdicts = list(result.adjusted()["verdict"])
        rows.append(
            {
                "Family": result.family.title,
                "Question": result.family.why,
                "Pairs": len(verdicts),
                "Better": verdicts.count("better"),
                "Worse": verdicts.count("worse"),
                "Undecided": verdicts.count("undecided"),
            }
        )
    return step.table(
        f"test_families_{results.evaluation.task}",
        pd.DataFrame(rows),
        caption=(
            "Declared families. Better and worse: pairs whose difference in AUC has a Holm-adjusted p of at "
            f"most {1 - results.evaluation.level:.2g}."
        ),
    )


def matrix(step: Step, results: Results) -> Figure:
    """Every declared difference in AUC in one picture, significant ones framed."""
    data = pd.DataFrame(
        [
            {
                "family": result.family.name,
                "row": results.label(pair.model),
                "column": results.label(pair.reference),
                "low": pair.tests[PRIMARY].low,
                "high": pair.tests[PRIMARY].high,
                "significant": tests[PRIMARY]["verdict"] != "undecided",
            }
            | {"estimate": pair.tests[PRIMARY].estimate}
            | {f"{test}_{kind}": found[kind] for test, found in tests.items() for kind in ("p", "holm", "bh")}
            for result, pair, tests in results.rows()
        ]
    )
    sentences = []
    for result in results.families:
        if result.pairs:
            found = result.adjusted()
            smallest, largest = (format_number(float(found["estimate"].agg(end))) for end in ("min", "max"))
            counts = found["verdict"].value_counts()
            sentences.append(
                f"{result.family.title}: {len(found)} pairs, differences from {smallest} to {largest}; "
                + ", ".join(f"{counts.get(v, 0)} {v}" for v in ("better", "worse", "undecided"))
            )
    return step.figure(
        f"test_matrix_{results.evaluation.task}",
        figures.difference_matrix(data, colorbar="Difference in AUC, row − column"),
        alt="Matrix of differences in AUC between networks (rows) and what they are held against (columns). "
        + ". ".join(sentences)
        + ".",
        caption=(
            "Difference in cross-validated AUC, row minus column, for every declared pair. Framed and bold: "
            f"Holm-adjusted p within the family at most {1 - results.evaluation.level:.2g}. The CSV file has "
            "the intervals and all p-values."
        ),
        data=data,
    )


def auc_table(step: Step, results: Results) -> Table:
    """The three tests about the AUC, pair by pair."""
    rows = [
        {
            "Comparison": f"{results.label(pair.model)} − {results.label(pair.reference)}",
            "Family": result.family.title,
            "Difference in AUC": pair.tests["auc"],
            "p": _p(tests["auc"]["p"]),
            "Holm": _p(tests["auc"]["holm"]),
            "B-H": _p(tests["auc"]["bh"]),
            "t over folds: p": _p(tests["folds_t"]["p"]),
            "t: Holm": _p(tests["folds_t"]["holm"]),
            "Wilcoxon: p": _p(tests["folds_wilcoxon"]["p"]),
            "Wilcoxon: Holm": _p(tests["folds_wilcoxon"]["holm"]),
        }
        for result, pair, tests in results.rows()
    ]
    return step.table(
        f"tests_auc_{results.evaluation.task}",
        pd.DataFrame(rows),
        caption=(
            f"Differences in AUC with {results.evaluation.level:.0%} intervals and the clustered DeLong test "
            "(p, then adjusted by Holm and by Benjamini-Hochberg within the family); beside it the t-test "
            "with the correction of Nadeau and Bengio and Wilcoxon's test, both over folds."
        ),
    )


def decisions_table(step: Step, results: Results) -> Table:
    """McNemar's test and its effect sizes, pair by pair."""
    rows = [
        {
            "Comparison": f"{results.label(pair.model)} − {results.label(pair.reference)}",
            "Family": result.family.title,
            "Difference in accuracy": pair.tests["accuracy"],
            "Only the first right": pair.discordant[0],
            "Only the second right": pair.discordant[1],
            "Cohen's g": pair.cohens_g,
            "p": _p(tests["accuracy"]["p"]),
            "Holm": _p(tests["accuracy"]["holm"]),
            "B-H": _p(tests["accuracy"]["bh"]),
        }
        for result, pair, tests in results.rows()
    ]
    return step.table(
        f"tests_decisions_{results.evaluation.task}",
        pd.DataFrame(rows),
        caption=(
            f"Differences in accuracy with {results.evaluation.level:.0%} intervals and McNemar's test for "
            "clustered images. Cohen's g is the share of the discordant images that the first had right, "
            "less one half."
        ),
    )


def kappa_table(step: Step, results: Results) -> Table:
    """Agreement of every model's decisions with the reference standard."""
    rows = [
        {
            "Model": results.label(model),
            "Cohen's kappa": estimate,
            "Agreement": results.evaluation.models[model].metrics["accuracy"].estimate,
        }
        for model, estimate in results.kappa.items()
    ]
    return step.table(
        f"tests_kappa_{results.evaluation.task}",
        pd.DataFrame(rows),
        caption=(
            "Agreement between decision and reference standard beyond chance, with "
            f"{results.evaluation.level:.0%} intervals that leave out one patient at a time, and plain."
        ),
    )


def record(step: Step, results: Results) -> None:
    """Record how the families came out and what the chapter says of the tests themselves."""
    prefix = f"tests.{results.evaluation.task}"
    n_pairs = n_disagree = 0
    for result in results.families:
        verdicts = result.adjusted()["verdict"]
        n_pairs += len(verdicts)
        n_disagree += int((verdicts != result.adjusted("folds_t")["verdict"]).sum())
        step.numbers(
            f"{prefix}.{result.family.name}",
            {
                "n_pairs": len(verdicts),
                "n_better": int((verdicts == "better").sum()),
                "n_worse": int((verdicts == "worse").sum()),
            },
        )
    step.number(f"{prefix}.n_pairs", n_pairs)
    step.number(f"{prefix}.n_disagree", n_disagree, description="pairs judged otherwise by the corrected t")
    primary = primary_network(results.evaluation.models)
    n_folds = len(results.evaluation.models[primary].fold_auc)
    step.number(f"{prefix}.n_folds", n_folds)
    step.number(f"{prefix}.smallest_p", 2.0 / 2**n_folds, unit="p", description="of Wilcoxon's test")
    step.number(f"{prefix}.kappa", results.kappa[primary])
