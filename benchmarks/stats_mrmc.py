"""Time of a reader study's analysis: 5 readers x 2 modalities x 114 cases, and larger ones.

``python benchmarks/stats_mrmc.py [FILE.csv]``: with Van Dyke's readings where given, simulated ones of the
same size otherwise; the target is 0.2 s for the jackknife. Prints one JSON object.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import numpy as np
import pandas as pd

from radtransfer.stats.mrmc import ReaderStudy, dorfman_berbaum_metz, obuchowski_rockette, u_statistics

TARGET_SECONDS = 0.2


def simulated(n_readers: int, n_positive: int, n_negative: int) -> ReaderStudy:
    rng = np.random.default_rng(0)
    truth = np.repeat([1, 0], [n_positive, n_negative])
    rating = np.round(truth * 1.5 + rng.normal(size=(2, n_readers, len(truth))), 1)
    names = tuple(map(str, range(n_readers))), tuple(map(str, range(len(truth))))
    return ReaderStudy(rating, truth, ("1", "2"), *names)


def van_dyke(path: str) -> ReaderStudy:
    table = pd.read_csv(path)
    return ReaderStudy.from_long(
        rating=table["rating"],
        truth=table["truth"],
        reader=table["reader"],
        modality=table["treatment"],
        case=table["case"],
    )


def seconds(function: Callable[[], object], *, repeats: int = 5) -> float:
    """Best of several, after one call to warm up."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> int:
    study = van_dyke(sys.argv[1]) if len(sys.argv) > 1 else simulated(5, 45, 69)
    large = simulated(15, 400, 600)
    timings = {
        "van_dyke_jackknife_s": seconds(lambda: obuchowski_rockette(study)),
        "van_dyke_delong_s": seconds(lambda: obuchowski_rockette(study, covariance="delong")),
        "van_dyke_unbiased_s": seconds(lambda: obuchowski_rockette(study, covariance="unbiased")),
        "van_dyke_bootstrap_2000_s": seconds(lambda: obuchowski_rockette(study, covariance="bootstrap")),
        "van_dyke_dbm_s": seconds(lambda: dorfman_berbaum_metz(study)),
        "van_dyke_u_statistics_s": seconds(lambda: u_statistics(study)),
        "15_readers_1000_cases_jackknife_s": seconds(lambda: obuchowski_rockette(large), repeats=2),
        "15_readers_1000_cases_u_statistics_s": seconds(lambda: u_statistics(large), repeats=1),
    }
    met = timings["van_dyke_jackknife_s"] < TARGET_SECONDS
    print(json.dumps({"timings": timings, "target_s": TARGET_SECONDS, "met": met}, indent=1))
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
