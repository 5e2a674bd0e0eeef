"""``radtransfer readers``: plan a reading study with and without assistance, and analyse its reads."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Plan a reading study with and without assistance, and analyse its reads.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.command()
def design(
    output: Annotated[Path, typer.Option(help="New folder for lists, forms and instructions.")],
    readers: Annotated[int, typer.Option(min=2, help="Number of readers.")] = 6,
    cases: Annotated[
        Path | None,
        typer.Option(help="CSV with the column case, and truth to balance it; numbered by default."),
    ] = None,
    difference: Annotated[float, typer.Option(help="Difference in AUC to find.")] = 0.05,
    power: Annotated[float, typer.Option(help="Wanted power at a two-sided level of .05.")] = 0.8,
    auc: Annotated[float, typer.Option(help="Assumed AUC without assistance.")] = 0.8,
    reader_sd: Annotated[float, typer.Option(help="Assumed SD between readers, latent units.")] = 0.15,
    interaction_sd: Annotated[float, typer.Option(help="Assumed SD of readers' gains, latent units.")] = 0.05,
    prevalence: Annotated[float, typer.Option(help="Assumed share of positive cases.")] = 0.4,
    pilot: Annotated[
        Path | None, typer.Option(help="Reads of a pilot, instead of assumptions; needs --pilot-truth.")
    ] = None,
    pilot_truth: Annotated[Path | None, typer.Option(help="CSV with case and truth of the pilot.")] = None,
    washout_days: Annotated[int, typer.Option(min=1, help="Days between sessions.")] = 28,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the randomisation.")] = 0,
) -> None:
    """Compute the size of a study, draw crossover reading lists and write blank forms."""
    from radtransfer.errors import InputError
    from radtransfer.readers.assistance import load_reads, load_truth
    from radtransfer.readers.design import (
        assumed_components,
        cases_needed,
        pilot_components,
        reading_lists,
        write_design,
    )
    from radtransfer.readers.phantoms import AssistanceSpec

    if (pilot is None) != (pilot_truth is None):
        raise InputError("--pilot and --pilot-truth go together")
    if pilot is not None and pilot_truth is not None:
        components, basis = pilot_components(load_reads(pilot), load_truth(pilot_truth)), "pilot reads"
    else:
        spec = AssistanceSpec(
            auc=auc,
            assisted_auc=min(auc + difference, 0.999),
            reader_sd=reader_sd,
            interaction_sd=interaction_sd,
            prevalence=prevalence,
            seed=seed,
        )
        components, basis = assumed_components(spec), "assumptions, by a drawn pilot"
    size = cases_needed(components, difference=difference, n_readers=readers, power=power)
    needed = int(size.estimate)
    if cases is None:
        names, truth = [f"case{i + 1:04d}" for i in range(needed)], None
    else:
        table = load_reads(cases)
        if "case" not in table:
            raise InputError(f"{cases} needs the column case")
        names = table["case"].tolist()
        truth = load_truth(cases).tolist() if "truth" in table else None
    lists = reading_lists(names, [f"reader{j + 1:02d}" for j in range(readers)], seed=seed, truth=truth)
    about = {
        "cases_needed": needed,
        "power": size.details["power"],
        "difference": difference,
        "readers": readers,
        "cases_listed": len(names),
        "basis": basis,
        "components": asdict(components),
        "method": size.method,
        "seed": seed,
    }
    write_design(output, lists, washout_days=washout_days, about=about)
    typer.echo(f"{needed} cases and {readers} readers give a power of {size.details['power']:.3f} ({basis})")
    if len(names) < needed:
        typer.echo(f"warning: only {len(names)} cases are listed")
    typer.echo(f"{output}: reading lists of {len(names)} cases, forms of {2 * readers} sessions")


@app.command()
def analyse(
    reads: Annotated[Path, typer.Option(help="Filled-in forms: a CSV file or a folder of them.")],
    truth: Annotated[Path, typer.Option(help="CSV with the columns case and truth (0 or 1).")],
    level: Annotated[float, typer.Option(help="Confidence level.")] = 0.95,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compare accuracy, reading time and confidence with and without assistance."""
    from radtransfer.readers.assistance import analyse as analyse_reads
    from radtransfer.readers.assistance import load_reads, load_truth

    result = analyse_reads(load_reads(reads), load_truth(truth), level=level)
    typer.echo(json.dumps(result.to_dict(), allow_nan=False) if as_json else str(result))
