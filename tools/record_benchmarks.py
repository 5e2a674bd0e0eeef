"""Write book/benchmarks/*.csv, the tables of the appendices on how statistics and data layer were checked.

    python tools/record_benchmarks.py [--full] [--kept] [--oracles CASES.json] [PART ...]

runs the benchmarks of the parts named, all that can be run by default, and turns what they write into
tables. Without ``--full`` the simulations make a tenth of their replications; the tables tell how many. With
``--kept`` the parts ``curation``, ``data``, ``executors``, ``fuzz``, ``subgroups`` and ``training`` take what
their benchmarks last wrote: they take an hour and a half. ``executors`` needs the extra ``ray``, and
``precision`` always takes what ``benchmarks/precision.py`` wrote of the study's images. A part that misses a
bound is written all the same, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "book" / "benchmarks"
SCRATCH = ROOT / "work" / "bench"
REPLICATIONS = 1000

VERDICT = {True: "yes", False: "no"}
NETWORKS = {"vgg16": "VGG16", "mobilenet": "MobileNet"}
ANALYSES = {
    "RRRC": "readers and cases random",
    "FRRC": "readers fixed",
    "RRFC": "cases fixed",
}
MRMC = {
    "van_dyke_jackknife_s": "Reader study, jackknife covariance",
    "van_dyke_delong_s": "Reader study, DeLong covariance",
    "van_dyke_dbm_s": "Reader study, Dorfman-Berbaum-Metz",
    "van_dyke_u_statistics_s": "Reader study, U-statistics",
}


def run(script: str, *arguments: str) -> tuple[str, bool]:
    """Output of a script of this checkout, and whether it was content."""
    result = subprocess.run(
        [sys.executable, str(ROOT / script), *arguments], stdout=subprocess.PIPE, text=True, check=False
    )
    return result.stdout, result.returncode == 0


def oracles(options: argparse.Namespace) -> tuple[pd.DataFrame, bool]:
    """Reference values of R and exact arithmetic, by function."""
    cases = {case["id"]: case["function"] for case in json.loads(Path(options.oracles).read_text("utf-8"))}
    output, content = run("tests/oracles/run_cases.py", options.oracles)
    passed = {name for name in cases if f"\n{name}: ok" in f"\n{output}"}
    frame = pd.DataFrame(
        [(function, 1, int(name in passed)) for name, function in cases.items()],
        columns=["Function", "Cases", "Agree"],
    )
    table = frame.groupby("Function", as_index=False, sort=True).sum()
    table.loc[len(table)] = ["all", *table[["Cases", "Agree"]].sum()]
    return table, content


def coverage(options: argparse.Namespace) -> tuple[pd.DataFrame, bool]:
    """Coverage and type I error of single methods."""
    output = SCRATCH / "stats_simulations.csv"
    arguments = ["--jobs", str(options.jobs), "--output", str(output), *([] if options.full else ["--quick"])]
    _, content = run("benchmarks/stats_simulations.py", *arguments)
    found = pd.read_csv(output)
    return pd.DataFrame(
        {
            "Design": found["design"],
            "What": found["what"],
            "Replications": found["replications"].replace(0, "all outcomes"),
            "Rate": found["rate"].map("{:.3f}".format),
            "Reference": found["reference"].map("{:.3f}".format),
            "Admitted": [
                f"{low:.3f} to {high:.3f}" for low, high in zip(found["low"], found["high"], strict=True)
            ],
            "Inside": found["ok"].map(VERDICT),
        }
    ), content


def type_one_error(options: argparse.Namespace) -> tuple[pd.DataFrame, bool]:
    """Type I error of reader studies."""
    output = SCRATCH / "stats_type_one_error.csv"
    replications = REPLICATIONS if options.full else REPLICATIONS // 10
    _, content = run(
        "benchmarks/stats_type_one_error.py", "--replications", str(replications), "--output", str(output)
    )
    found = pd.read_csv(output)
    return pd.DataFrame(
        {
            "Correlation": found["structure"],
            "Separation": found["separation"],
            "Analysis": found["analysis"].map(ANALYSES),
            "Replications": replications,
            "Rejected": found["rejection_rate"].map("{:.3f}".format),
            "Reference": found["reference"].map("{:.3f}".format),
            "Standard error": found["standard_error"].map("{:.3f}".format),
            "Within 4 errors": found["within_4_standard_errors"].map(VERDICT),
        }
    ), content


def speed(options: argparse.Namespace) -> tuple[pd.DataFrame, bool]:
    """Speed beside the usual ways, and of reader studies."""
    output = SCRATCH / "stats_speed.json"
    _, fast = run("benchmarks/stats_speed.py", "--output", str(output))
    report = json.loads(output.read_text("utf-8"))
    rows = [
        (
            row["name"],
            row["seconds"],
            row["seconds_other"],
            row["ratio"],
            f"under {report['target_seconds']:g} s"
            if row["ratio"] is None
            else f"{report['target_ratio']:g} times faster",
            VERDICT[row["target_met"]],
        )
        for row in report["benchmarks"]
    ]
    text, quick = run("benchmarks/stats_mrmc.py")
    readers = json.loads(text)
    for key, name in MRMC.items():
        target = key == "van_dyke_jackknife_s"
        rows.append(
            (
                name,
                readers["timings"][key],
                None,
                None,
                f"under {readers['target_s']:g} s" if target else "",
                VERDICT[readers["met"]] if target else "",
            )
        )
    table = pd.DataFrame(rows, columns=["What", "Seconds", "The usual way", "Ratio", "Target", "Met"])
    for column, form in (("Seconds", "{:.4f}"), ("The usual way", "{:.2f}"), ("Ratio", "{:.0f}")):
        table[column] = table[column].map(form.format, na_action="ignore")
    return table, fast and quick


def _written(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Report of a benchmark that takes long, which is run unless it is kept."""
    output = SCRATCH / f"{name}.json"
    if not (options.kept and output.is_file()):
        run(f"benchmarks/{name}.py", "--output", str(output), *([] if options.full else ["--quick"]))
    found: dict[str, Any] = json.loads(output.read_text("utf-8"))
    return found


def subgroups(options: argparse.Namespace) -> tuple[pd.DataFrame, bool]:
    """Planted gaps between groups that were found, and gaps that were seen where none is."""
    report = _written("subgroups", options)
    rows = [
        {
            "Patients": f"{one['patients']:,}",
            "Images": f"{one['images']:,}",
            "Planted gap": f"{one['gap']:g}",
            "Phantoms": one["seeds"],
            "Visible from": f"{one['visible_from']:.3f}",
            "Gap found": f"{one['found']:.2f}" if one["gap"] else "",
            "False alarm": f"{one['false_alarms']:.2f}",
        }
        for one in report["designs"]
    ]
    return pd.DataFrame(rows), report["met"]


def curation(options: argparse.Namespace) -> tuple[pd.DataFrame, bool]:
    """Speed and memory of curating ChestX-ray14."""
    report = _written("curation", options)
    (few, many), (peak, peak_many) = report["n"], report["peak_mib"]
    found, met, batches = report["found"], report["met"], report["batches"]
    rows = [
        (
            f"Curating {many:,} images of 1024 px, share of the speed of decoding and reducing alone",
            f"{found['rate_large']:.2f} ({report['curation_large_per_s']:.0f} of "
            f"{report['loop_per_s']:.0f} per s)",
            "0.85",
            met["rate_large"],
        ),
        (
            f"The same for {few:,} images",
            f"{found['rate']:.2f} ({report['curation_per_s']:.0f} per s)",
            "0.85",
            met["rate"],
        ),
        (
            "At the rate of the larger run, time for 112,120 images",
            f"{report['hours_for_all'] * 60:.0f} min",
            "",
            None,
        ),
        (
            f"Peak memory, {many:,} images against {few:,}",
            f"{found['memory']:.2f} ({peak:.0f} and {peak_many:.0f} MiB)",
            "1.05",
            met["memory"],
        ),
        (
            f"Cohort, flow, splits and Table 1 of {report['metadata']['rows']:,} rows, processor time",
            f"{found['metadata_s']:.1f} s",
            "10 s",
            met["metadata_s"],
        ),
        (
            "Random batches of 32 from the store, times faster than decoding their files",
            f"{found['batches']:.0f} ({1e3 * batches['store_s']:.1f} and {1e3 * batches['files_s']:.0f} ms)",
            "20",
            met["batches"],
        ),
    ]
    return _targets(rows)


def data(options: argparse.Namespace) -> tuple[pd.DataFrame, bool]:
    """Search for duplicates, and report of leaks and shortcuts."""
    duplicates, leakage = (_written(name, options) for name in ("duplicates", "leakage"))
    flagged = leakage["site_found_by_phi"]["0.4"]
    n_planted = sum(duplicates["planted_that_count"].values())
    memory = 1e6 * duplicates["peak_memory_growth_mb"] / duplicates["n_images"]
    rows = [
        (
            f"Duplicates among {duplicates['n_images']:,} images, processor time",
            f"{duplicates['processor_seconds']:.0f} s",
            "600 s",
            duplicates["seconds"] <= 600,
        ),
        (
            f"Memory that this takes, bytes an image; recall of {n_planted} planted copies",
            f"{memory:.0f}; {duplicates['recall']:.3f}",
            "12,000; 0.98",
            duplicates["met"],
        ),
        (
            f"False alarms of the leakage report, {leakage['datasets']} clean phantom datasets",
            f"{leakage['false_alarm_rate']:.3f}",
            "0.05",
            leakage["false_alarm_rate"] <= 0.05,
        ),
        (
            "Share of reports that flag a hospital whose correlation with the label is 0.4",
            f"{flagged:.2f}",
            "1",
            flagged == 1,
        ),
    ]
    return _targets(rows)


def fuzz(options: argparse.Namespace) -> tuple[pd.DataFrame, bool]:
    """Files made to break the parsers."""
    report = _written("fuzz", options)
    rows = [
        (
            f"Mutated files that broke a parser, of {report['files']:,}",
            str(report["wrong"]),
            "0",
            report["wrong"] == 0,
        ),
    ]
    return _targets(rows)


def training(options: argparse.Namespace) -> tuple[pd.DataFrame, bool]:
    """Speed of training beside the loop of Keras's guide, and what bounds it."""
    report = _written("training", options)
    found, met, seconds = report["found"], report["met"], report["seconds"]
    setting = f"{report['images']:,} images of {report['size']} px"
    rates = report["gflops"]
    rows = [
        (
            f"Head on frozen VGG16, 5 folds of 20 epochs, {setting}: times faster than the guide's loop",
            f"{found['heads']:.0f} ({seconds['heads']:.0f} and {seconds['guide_heads']:,.0f} s)",
            "40",
            met["heads"],
        ),
        (
            "Largest difference of predictions after the same steps",
            f"{found['heads_difference']:.0e}",
            "1e-4",
            met["heads_difference"],
        ),
        (
            "Last block trained as well: times faster than the guide's loop",
            f"{found['blocks']:.1f} ({seconds['blocks']:,.0f} and {seconds['guide_blocks']:,.0f} s)",
            "3",
            met["blocks"],
        ),
        (
            "Difference of predictions after the same steps, of that between two seeds",
            f"{found['blocks_difference']:.3f}",
            "1",
            met["blocks_difference"],
        ),
        (
            "Heads of five learning rates: time of one",
            f"{found['rates']:.2f}",
            "1.3",
            met["rates"],
        ),
        (
            "Frozen pass: share of the machine's matrix product, timed in its pauses",
            f"{found['forward']:.2f} ({rates['pass']:.0f} of {rates['product']:.0f} GFLOP/s; "
            f"fastest single product {rates['fastest_product']:.0f})",
            "0.8",
            met["forward"],
        ),
    ]
    name = "The same in bfloat16: times faster; AUC of heads in float32 and on it"
    if rounded := report["bfloat16"]:
        areas = " and ".join(f"{area:.4f}" for area in rounded["auc"])
        rows.append((name, f"{rounded['ratio']:.2f}; {areas}", "1.5", met["bfloat16"]))
    else:
        rows.append((name, "not measured: the processor has no bfloat16", "1.5", None))
    rows.append(
        (
            "Epoch of training all of a network against steps on one batch, the larger of two networks",
            f"{found['input']:.3f}",
            "1.05",
            met["input"],
        )
    )
    return _targets(rows)


def precision(_: argparse.Namespace) -> tuple[pd.DataFrame, bool]:
    """Heads on frozen networks in float32 and in bfloat16."""
    written = SCRATCH / "precision.json"
    if not written.is_file():
        raise SystemExit(f"{written} is missing: run benchmarks/precision.py on the study's images")
    rows = []
    for each in json.loads(written.read_text("utf-8"))["found"]:
        exact, rounded = each["seconds"].values()
        areas = " and ".join(f"{area:.4f}" for area in each["auc"].values())
        network, n_images, difference = NETWORKS[each["network"]], each["n"]["images"], each["difference"]
        rows.append(
            {
                "Heads": f"{each['task']}, {network}, {each['size']} px, {n_images:,} images",
                "Pass: times faster": f"{exact / rounded:.2f} ({exact:.1f} and {rounded:.1f} s)",
                f"AUC in both, {each['seeds']} seeds": areas,
                "Difference (95 % CI)": (
                    f"{difference['estimate']:+.4f} ({difference['low']:+.4f} to {difference['high']:+.4f})"
                ).replace("-", "−"),
            }
        )
    return pd.DataFrame(rows), True


def executors(options: argparse.Namespace) -> tuple[pd.DataFrame, bool]:
    """The same training runs on one core and on two."""
    report = _written("executors", options)
    titles = {"pool": "processes of a pool", "ray": "nodes of a Ray cluster on one machine"}
    rows: list[tuple[str, str, str, Any]] = []
    for kind, efficiency in report["efficiency"].items():
        one, two = (report["seconds"][f"{kind}_{count}"] for count in (1, 2))
        bound = kind == "ray" and not report["quick"]
        rows.append(
            (
                f"{report['n_runs']} runs of {report['run_s']:.0f} s: efficiency of two {titles[kind]} "
                "with a core each, against one",
                f"{efficiency:.2f} ({one:.0f} and {two:.0f} s)",
                f"{report['target']}" if bound else "",
                efficiency >= report["target"] if bound else None,
            )
        )
    rows.append(
        (
            "The same weights and scores, to the last bit, from all of them",
            VERDICT[report["identical"]],
            "yes",
            report["identical"],
        )
    )
    return _targets(rows)


def _targets(rows: list[tuple[str, str, str, Any]]) -> tuple[pd.DataFrame, bool]:
    """Table of what was measured against its target, and whether all are met."""
    table = pd.DataFrame(rows, columns=["What", "Measured", "Target", "Met"])
    content = all(row[3] for row in rows if row[3] is not None)
    return table.assign(Met=table["Met"].map(VERDICT).fillna("")), content


PARTS = {
    "oracles": oracles,
    "coverage": coverage,
    "type_one_error": type_one_error,
    "speed": speed,
    "subgroups": subgroups,
    "curation": curation,
    "data": data,
    "fuzz": fuzz,
    "training": training,
    "precision": precision,
    "executors": executors,
}


def main() -> int:
    """Run the parts and write their tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--full", action="store_true", help="all replications")
    parser.add_argument("--kept", action="store_true", help="what those parts last wrote that take long")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--oracles", metavar="CASES.json", help="reference values, for the part oracles")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part {sorted(unknown)[0]!r}; there are {', '.join(PARTS)}")
    given = {"oracles": bool(options.oracles), "precision": (SCRATCH / "precision.json").is_file()}
    parts = options.parts or [part for part in PARTS if given.get(part, True)]
    if "oracles" in parts and not options.oracles:
        parser.error("the part oracles needs --oracles CASES.json")
    SCRATCH.mkdir(parents=True, exist_ok=True)
    TARGET.mkdir(parents=True, exist_ok=True)
    content = True
    for part in parts:
        table, met = PARTS[part](options)
        table.to_csv(TARGET / f"{part}.csv", index=False, lineterminator="\n")
        print(f"{part}: {len(table)} rows, {'as it should be' if met else 'OUT OF BOUNDS'}", flush=True)
        content &= met
    return 0 if content else 1


if __name__ == "__main__":
    sys.exit(main())
