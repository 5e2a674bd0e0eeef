"""Small cohorts for tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from radtransfer.data.cohort import Cohort


def cohort(patients: Sequence[str], labels: Sequence[int | None], **columns: Any) -> Cohort:
    """One image for each entry of ``patients``."""
    n = len(patients)
    ids = [f"i{position:05d}" for position in range(n)]
    frame = pd.DataFrame(
        {
            "image_id": ids,
            "patient_id": list(patients),
            "group_id": ids,
            "dataset": "toy",
            "modality": "xray",
            "path": [f"{name}.png" for name in ids],
            "age_years": pd.array([40.0] * n, dtype="Float64"),
            "sex": pd.Series(["F"] * n, dtype="str"),
            "view": pd.Series(["PA"] * n, dtype="str"),
            "site": pd.Series([None] * n, dtype="str"),
            "label_pneumonia": pd.array(list(labels), dtype="Int64"),
        }
    )
    for name, values in columns.items():
        frame[name] = values
    return Cohort(frame, "toy", ("pneumonia",))
