"""Coverage and type I error by simulation and by enumeration, beside reference rates.

``python benchmarks/stats_simulations.py [--quick] [--jobs N] [--output FILE.csv]``. Simulated rates must lie
within 4 Monte-Carlo standard errors of the rate that an independent program found, or of the nominal level
where the method promises it; enumerated ones must hold their bound. ``--quick`` makes a tenth of the
replications. Results depend on neither jobs nor order. Exit status 1 if a rate is out of bounds.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from radtransfer import paths
from radtransfer.atomic import atomic_file
from radtransfer.stats.auc import auc, clustered_auc, compare_auc
from radtransfer.stats.bootstrap import ClusterBootstrap
from radtransfer.stats.noninferiority import noninferiority_auc, noninferiority_paired_proportion
from radtransfer.stats.paired import corrected_resampled_t, mcnemar, paired_t
from radtransfer.stats.permutation import permutation_disparity
from radtransfer.stats.proportions import clustered_proportion, proportion


def separation(area: float) -> float:
    """Distance of two normal classes of variance 1 with that AUC."""
    return math.sqrt(2) * float(stats.norm.ppf(area))


def covers(low: float | None, high: float | None, truth: float) -> bool:
    return low is not None and high is not None and low <= truth <= high


# --- one replication each: what is counted ---------------------------------------------------------------


def delong(rng: np.random.Generator, *, area: float, m: int, n: int) -> tuple[bool, bool]:
    """Whether the Wald and the logit interval cover; an interval of no width is a miss."""
    y = np.repeat([1, 0], [m, n])
    score = rng.normal(size=m + n) + separation(area) * y
    wald, logit = auc(y, score), auc(y, score, interval="logit")
    if wald.details["variance"] == 0:
        return False, False
    return covers(wald.low, wald.high, area), covers(logit.low, logit.high, area)


def paired_delong(rng: np.random.Generator, *, rho: float, m: int, n: int) -> tuple[bool]:
    """Whether two correlated curves of AUC .85 are told apart."""
    y = np.repeat([1, 0], [m, n])
    scores = rng.multivariate_normal([0, 0], [[1, rho], [rho, 1]], size=m + n).T + separation(0.85) * y
    p_value = compare_auc(y, *scores).p_value
    return (p_value is not None and p_value <= 0.05,)


def patients(rng: np.random.Generator, icc: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """50 patients of 4 images: labels 90 % as the patient's, scores of AUC .8 with the given correlation."""
    patient = np.repeat(np.arange(50), 4)
    sick = rng.integers(0, 2, 50)[patient]
    y = np.where(rng.random(200) < 0.9, sick, 1 - sick)
    noise = math.sqrt(icc) * rng.normal(size=50)[patient] + math.sqrt(1 - icc) * rng.normal(size=200)
    return patient, y, noise + separation(0.8) * y


def clustered(rng: np.random.Generator, *, icc: float) -> tuple[bool, bool]:
    """Whether Obuchowski's interval and, wrongly, DeLong's cover."""
    patient, y, score = patients(rng, icc)
    right, naive = clustered_auc(y, score, cluster=patient), auc(y, score)
    return covers(right.low, right.high, 0.8), covers(naive.low, naive.high, 0.8)


def clustered_bootstrap(rng: np.random.Generator, *, icc: float) -> tuple[bool, bool]:
    """Whether the percentile intervals from resampling patients and, wrongly, images cover."""
    patient, y, score = patients(rng, icc)
    result = []
    for cluster in (patient, np.arange(200)):
        bootstrap = ClusterBootstrap(cluster, n_resamples=500, seed=int(rng.integers(2**32)))
        interval = bootstrap.interval("AUC", auc(y, score).estimate, bootstrap.auc(y, score))
        result.append(covers(interval.low, interval.high, 0.8))
    return result[0], result[1]


def disparity(rng: np.random.Generator, *, sizes: tuple[int, ...]) -> tuple[bool]:
    """Whether groups of one true positive rate of .8 are told apart; M = 199."""
    hit, group = rng.random(sum(sizes)) < 0.8, np.repeat(np.arange(len(sizes)), sizes)
    result = permutation_disparity(
        hit, group, method="monte_carlo", n_permutations=199, seed=int(rng.integers(2**32))
    )
    return (result.p_value is not None and result.p_value <= 0.05,)


def folds(rng: np.random.Generator) -> tuple[bool, bool]:
    """Whether 10 fold differences of correlation .1 around 0 reject, uncorrected and corrected."""
    difference = math.sqrt(0.1) * rng.normal() + math.sqrt(0.9) * rng.normal(size=10)
    naive = paired_t(difference, np.zeros(10))
    corrected = corrected_resampled_t(difference, n_train=90, n_test=10)
    return tuple(r.p_value is not None and r.p_value <= 0.05 for r in (naive, corrected))  # type: ignore[return-value]


def margin_auc(rng: np.random.Generator) -> tuple[bool]:
    """Whether a new score exactly the margin of .05 worse passes as not inferior."""
    y = np.repeat([1, 0], [100, 100])
    noise = rng.multivariate_normal([0, 0], [[1, 0.5], [0.5, 1]], size=200).T
    new, reference = (noise[i] + separation(area) * y for i, area in enumerate((0.80, 0.85)))
    difference = compare_auc(y, new, reference)
    result = noninferiority_auc(difference.estimate, difference.details["se"], margin=0.05)
    return (bool(result.details["noninferior"]),)


def clustered_sensitivity(rng: np.random.Generator) -> tuple[bool, bool]:
    """Whether intervals of a proportion .7 in 40 patients of 5 like images cover; and plain Wilson's."""
    patient = np.repeat(np.arange(40), 5)
    hit = rng.random(200) < rng.beta(2.8, 1.2, 40)[patient]
    right, naive = clustered_proportion(hit, cluster=patient), proportion(int(hit.sum()), 200)
    return covers(right.low, right.high, 0.7), covers(naive.low, naive.high, 0.7)


# --- designs ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Design:
    """A simulation: what each replication counts, and between which rates each count must end.

    ``references`` holds for each count a name, the reference rate, and what further distance the design
    allows (None: within Monte-Carlo error; otherwise a distance on top of it, or -inf for "no more than").
    """

    name: str
    replicate: Callable[[np.random.Generator], tuple[bool, ...]]
    replications: int
    references: tuple[tuple[str, float, float], ...]


WITHIN, AT_MOST = 0.0, -math.inf

DESIGNS = [
    *(
        Design(
            f"DeLong coverage, AUC {area}, {m} + {n}",
            partial(delong, area=area, m=m, n=n),
            replications,
            (("Wald", wald, WITHIN), ("logit", logit, WITHIN)),
        )
        for area, m, n, replications, wald, logit in (
            (0.70, 20, 20, 4000, 0.9295, 0.95775),
            (0.70, 50, 50, 4000, 0.938, 0.952),
            (0.90, 20, 20, 4000, 0.88525, 0.9475),
            (0.90, 50, 200, 2000, 0.9315, 0.937),
            (0.95, 20, 80, 3000, 0.865, 0.93333),
            (0.98, 30, 100, 2000, 0.8335, 0.9255),
        )
    ),
    *(
        Design(
            f"paired DeLong type I error, AUC .85, rho {rho}, {m} + {n}",
            partial(paired_delong, rho=rho, m=m, n=n),
            4000,
            (("p <= .05", rate, WITHIN),),
        )
        for rho, m, n, rate in ((0.5, 40, 40, 0.04175), (0.9, 40, 40, 0.043), (0.5, 15, 60, 0.0505))
    ),
    *(
        Design(
            f"clustered AUC coverage, ICC {icc}",
            partial(clustered, icc=icc),
            1500,
            (("Obuchowski", obuchowski, WITHIN), ("DeLong of images", naive, WITHIN)),
        )
        for icc, obuchowski, naive in ((0.0, 0.95067, 0.95267), (0.5, 0.92133, 0.824), (0.8, 0.93267, 0.77))
    ),
    *(
        Design(
            f"clustered bootstrap coverage, ICC {icc}",
            partial(clustered_bootstrap, icc=icc),
            600,
            (("patients", obuchowski, 0.03), ("images", naive, 0.03)),
        )
        for icc, obuchowski, naive in ((0.0, 0.95067, 0.95267), (0.5, 0.92133, 0.824), (0.8, 0.93267, 0.77))
    ),
    *(
        Design(
            f"permutation of groups, type I error, {' + '.join(map(str, sizes))}",
            partial(disparity, sizes=sizes),
            2000,
            (("p <= .05", 0.05, AT_MOST),),
        )
        for sizes in ((30, 30), (10, 90), (15, 25, 40, 60))
    ),
    Design(
        "t over 10 folds, correlation .1, type I error",
        folds,
        20_000,
        (("uncorrected", 0.154, WITHIN), ("Nadeau-Bengio", 0.04885, WITHIN)),
    ),
    Design("non-inferiority of AUC at the margin", margin_auc, 4000, (("rejects", 0.025, 0.01),)),
    Design(
        "clustered proportion coverage, .7, ICC .2",
        clustered_sensitivity,
        4000,
        (("effective n", 0.95, 0.01), ("Wilson of images", 0.85, 0.03)),
    ),
]


def simulate(design: Design, replications: int) -> list[dict[str, object]]:
    """Rates of a design, each with its bounds."""
    rng = np.random.default_rng([20260101, zlib.crc32(design.name.encode())])
    counts = np.sum([design.replicate(rng) for _ in range(replications)], axis=0)
    rows = []
    for (what, reference, allowance), count in zip(design.references, counts, strict=True):
        error = 4 * math.sqrt(reference * (1 - reference) / replications)
        low = 0.0 if allowance == AT_MOST else reference - error - allowance
        high = reference + error + max(allowance, 0.0)
        rows.append(_row(design.name, what, replications, count / replications, reference, low, high))
    return rows


# --- enumerations: no Monte-Carlo error ------------------------------------------------------------------


def enumerate_coverage() -> list[dict[str, object]]:
    """Smallest coverage of intervals of a proportion, over sample sizes and true proportions."""
    smallest = {"wilson": 1.0, "clopper_pearson": 1.0}
    for n in (10, 30, 100):
        for method in smallest:
            limits = [proportion(x, n, method=method) for x in range(n + 1)]  # type: ignore[arg-type]
            low, high = np.array([[limit.low, limit.high] for limit in limits], dtype=float).T
            for p in np.linspace(0.001, 0.999, 999):
                inside = (low <= p) & (p <= high)
                smallest[method] = min(
                    smallest[method], float(stats.binom.pmf(np.arange(n + 1), n, p) @ inside)
                )
    name = "coverage of a proportion, smallest by enumeration"
    return [
        _row(name, "Wilson", 0, smallest["wilson"], 0.83, 0.80, 1),
        _row(name, "Clopper-Pearson", 0, smallest["clopper_pearson"], 0.95, 0.95, 1),
    ]


def enumerate_mcnemar() -> list[dict[str, object]]:
    """Largest size of McNemar's tests over true shares of discordant pairs up to one half, 50 pairs."""
    n, rows = 50, []
    for method, bound in (("exact", 0.05), ("midp", 0.05), ("asymptotic", 0.06), ("corrected", 0.05)):
        size_given = [
            float(
                stats.binom.pmf(np.arange(d + 1), d, 0.5)
                @ [(mcnemar(b, d - b, method=method).p_value or 0) <= 0.05 for b in range(d + 1)]  # type: ignore[arg-type]
            )
            for d in range(n + 1)
        ]
        largest = max(
            float(stats.binom.pmf(np.arange(n + 1), n, q) @ size_given) for q in np.linspace(0.01, 0.5, 50)
        )
        rows.append(
            _row("McNemar, 50 pairs, largest size by enumeration", method, 0, largest, 0.05, 0, bound)
        )
    return rows


def enumerate_tango() -> list[dict[str, object]]:
    """Size of Tango's non-inferiority test at the margin of .1, 60 pairs."""
    n, size = 60, 0.0
    for b in range(n + 1):
        for c in range(n + 1 - b):
            chance = float(stats.multinomial.pmf([b, c, n - b - c], n, [0.05, 0.15, 0.80]))
            if chance > 1e-10:
                size += chance * noninferiority_paired_proportion(b, c, n, margin=0.1).details["noninferior"]
    return [
        _row("Tango non-inferiority at the margin, by enumeration", "rejects", 0, size, 0.025, 0.015, 0.035)
    ]


def _row(
    name: str, what: str, replications: int, rate: float, reference: float, low: float, high: float
) -> dict[str, object]:
    return {
        "design": name,
        "what": what,
        "replications": replications,
        "rate": round(float(rate), 5),
        "reference": reference,
        "low": round(max(low, 0.0), 5),
        "high": round(min(high, 1.0), 5),
        "ok": bool(low - 1e-12 <= rate <= high + 1e-12),
    }


def main() -> int:
    """Run all designs, print the table, write it as CSV."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the replications")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--output", type=Path, default=None)
    options = parser.parse_args()
    output = options.output or paths.work_dir() / "bench" / "stats_simulations.csv"
    share = 10 if options.quick else 1
    with ProcessPoolExecutor(options.jobs) as pool:
        tasks = [pool.submit(simulate, design, design.replications // share) for design in DESIGNS]
        tasks += [pool.submit(f) for f in (enumerate_coverage, enumerate_mcnemar, enumerate_tango)]
        table = pd.DataFrame([row for task in tasks for row in task.result()])
    print(table.to_string(index=False))
    with atomic_file(output) as target:
        table.to_csv(target, index=False)
    return 0 if table["ok"].all() else 1


if __name__ == "__main__":
    sys.exit(main())
