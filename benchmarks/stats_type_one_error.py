"""Type I error of the reader-study analyses under the Roe-Metz model, and its table.

``python benchmarks/stats_type_one_error.py [--replications 1000] [--output FILE.csv]``: ratings of 5 readers,
2 modalities of equal accuracy, 50 + 50 cases; 12 cells of correlation structure and accuracy (Roe, Metz, Acad
Radiol 1997;4:298-303). Readers and cases are drawn anew each time, so that only the analysis with random
readers and cases should hold its level of 5 %; the others are shown to be inflated. Each rate is compared
with that of an independent program within 4 Monte-Carlo standard errors; the exit status is 1 if one lies
outside.
"""

from __future__ import annotations

import argparse
import sys
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from radtransfer.stats.mrmc import ReaderStudy, obuchowski_rockette

# variance of case, modality x case, reader x case and error; sum 1
CASE_VARIANCE = {"H": (0.3, 0.3, 0.2, 0.2), "L": (0.1, 0.1, 0.2, 0.6)}
# variance of reader, and of modality x reader, by separation
READER_VARIANCE = {
    "L": {0.75: 0.0055, 1.5: 0.0055, 2.5: 0.0055},
    "H": {0.75: 0.011, 1.5: 0.030, 2.5: 0.056},
}
# reference rates of 1000 replications, DeLong covariance: random both, fixed readers, fixed cases
REFERENCE = {
    ("HH", 0.75): (0.052, 0.083, 0.181),
    ("HH", 1.5): (0.045, 0.129, 0.107),
    ("HH", 2.5): (0.015, 0.143, 0.064),
    ("HL", 0.75): (0.059, 0.082, 0.262),
    ("HL", 1.5): (0.055, 0.073, 0.229),
    ("HL", 2.5): (0.031, 0.048, 0.201),
    ("LH", 0.75): (0.052, 0.103, 0.075),
    ("LH", 1.5): (0.054, 0.184, 0.066),
    ("LH", 2.5): (0.048, 0.200, 0.051),
    ("LL", 0.75): (0.050, 0.079, 0.075),
    ("LL", 1.5): (0.062, 0.073, 0.084),
    ("LL", 2.5): (0.066, 0.066, 0.084),
}
Effect = Literal["random", "fixed"]
ANALYSES: tuple[tuple[str, Effect, Effect], ...] = (
    ("RRRC", "random", "random"),
    ("FRRC", "fixed", "random"),
    ("RRFC", "random", "fixed"),
)
N_READERS, N_POSITIVE, N_NEGATIVE = 5, 50, 50


def roe_metz(rng: np.random.Generator, structure: str, separation: float) -> ReaderStudy:
    """One study of the null model; every term is drawn for the two classes apart."""
    truth = np.repeat([1, 0], [N_POSITIVE, N_NEGATIVE])
    rating = np.broadcast_to(separation * truth, (2, N_READERS, len(truth))).copy()
    between = READER_VARIANCE[structure[1]][separation]
    case, modality_case, reader_case, error = CASE_VARIANCE[structure[0]]
    for label, size in ((1, N_POSITIVE), (0, N_NEGATIVE)):
        shapes = [
            (between, (1, N_READERS, 1)),
            (between, (2, N_READERS, 1)),
            (case, (1, 1, size)),
            (modality_case, (2, 1, size)),
            (reader_case, (1, N_READERS, size)),
            (error, (2, N_READERS, size)),
        ]
        rating[..., truth == label] += sum(rng.normal(0, np.sqrt(v), shape) for v, shape in shapes)
    names = tuple(map(str, range(N_READERS))), tuple(map(str, range(len(truth))))
    return ReaderStudy(rating, truth, ("1", "2"), *names)


def simulate(replications: int, seed: int) -> pd.DataFrame:
    """Rejection rates of every cell and analysis."""
    rows = []
    for structure, separation in product(("HH", "HL", "LH", "LL"), (0.75, 1.5, 2.5)):
        rng = np.random.default_rng([seed, len(rows)])
        rejected = dict.fromkeys((name for name, _, _ in ANALYSES), 0)
        for _ in range(replications):
            study = roe_metz(rng, structure, separation)
            for name, readers, cases in ANALYSES:
                result = obuchowski_rockette(study, covariance="delong", readers=readers, cases=cases)
                rejected[name] += result.p_value < 0.05
        for (name, _, _), reference in zip(ANALYSES, REFERENCE[structure, separation], strict=True):
            rate = rejected[name] / replications
            # both rates are simulated: the reference with 1000 replications
            error = np.sqrt(reference * (1 - reference) * (1 / replications + 1 / 1000))
            rows.append(
                {
                    "structure": structure,
                    "separation": separation,
                    "analysis": name,
                    "rejection_rate": rate,
                    "reference": reference,
                    "standard_error": round(float(error), 4),
                    "within_4_standard_errors": bool(abs(rate - reference) <= 4 * error),
                }
            )
    return pd.DataFrame(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description="Type I error of reader-study analyses.")
    parser.add_argument("--replications", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1997)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    table = simulate(options.replications, options.seed)
    print(table.to_string(index=False))
    if options.output:
        table.to_csv(options.output, index=False)
    return 0 if table["within_4_standard_errors"].all() else 1


if __name__ == "__main__":
    sys.exit(main())
