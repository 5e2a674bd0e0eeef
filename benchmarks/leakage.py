"""False alarms of the leakage report over 200 clean phantom datasets, and what it finds when planted.

``python benchmarks/leakage.py [--quick] [--output FILE.json]``: radiographs, CT and MRI slices in turn, of
120 to 400 patients, with everything the report looks at: pixels, duplicates, a split and folds of our own.
A false alarm is any flag in a report; at most 5 % of the reports may have one. Then hospitals that give the
label away are planted with growing correlation phi, and the share of reports that flag the site is told; at
phi .4 it must be all. ``--quick``: a tenth. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path

from radtransfer.atomic import write_json
from radtransfer.data.duplicates import find_duplicates
from radtransfer.data.leakage import LeakageReport, examine
from radtransfer.data.phantoms import TASKS, PhantomSpec, generate
from radtransfer.data.splits import make_folds, make_split

MOST_FALSE_ALARMS = 0.05
SURE = 0.4


def report_on(spec: PhantomSpec) -> LeakageReport:
    """Everything the report looks at."""
    phantoms = generate(spec)
    return examine(
        phantoms.cohort,
        task=spec.task,
        images=phantoms.images,
        duplicates=find_duplicates(phantoms.images),
        splits={
            "holdout": make_split(phantoms.cohort, task=spec.task, seed=spec.seed),
            "folds": make_folds(phantoms.cohort, task=spec.task, n_folds=5, seed=spec.seed),
        },
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the datasets")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    n, n_planted = (20, 4) if options.quick else (200, 20)
    start = time.perf_counter()
    alarms: Counter[str] = Counter()
    reports_with_alarm = 0
    for seed in range(n):
        spec = PhantomSpec(
            modality=tuple(TASKS)[seed % 3],  # type: ignore[arg-type]
            n_patients=(120, 200, 400)[seed // 3 % 3],
            size=48,
            seed=1000 + seed,
        )
        flagged = report_on(spec).flagged
        reports_with_alarm += bool(flagged)
        alarms.update(f"{finding.kind} {finding.subject}" for finding in flagged)
    found = {}
    for phi in (0.2, 0.3, SURE, 0.6):
        reports = [
            report_on(PhantomSpec(n_patients=200, size=48, seed=5000 + seed, site_shortcut=phi))
            for seed in range(n_planted)
        ]
        found[phi] = sum(any(f.subject == "site" for f in r.flagged) for r in reports) / n_planted
    rate = reports_with_alarm / n
    report = {
        "datasets": n,
        "false_alarm_rate": rate,
        "false_alarms": dict(alarms),
        "site_found_by_phi": found,
        "seconds": round(time.perf_counter() - start, 1),
        "met": rate <= MOST_FALSE_ALARMS and found[SURE] == 1,
    }
    if options.output:
        write_json(options.output, report)
    print(json.dumps(report, indent=1))
    return 0 if report["met"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
