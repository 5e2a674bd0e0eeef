"""Design of a reading study with and without assistance: its size, and who reads what, when, and how.

Every reader reads every case twice, once in either condition, in two sessions apart by a washout. In a
session half of the cases are read with assistance and half without, so that what changes between sessions
cancels out of the comparison; the halves are swapped in the second session, and every other reader begins
with the other half. Each condition is one block; which comes first alternates as well.

References
----------
.. [1] Hillis SL, Obuchowski NA, Berbaum KS. Power estimation for multireader ROC methods: an updated and
   unified approach. Acad Radiol 2011;18:129-142.
.. [2] U.S. Food and Drug Administration. Clinical performance assessment: considerations for
   computer-assisted detection devices applied to radiology images and radiology device data. Guidance, 2020.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from radtransfer.atomic import atomic_folder, write_json, write_text
from radtransfer.errors import InputError
from radtransfer.readers.phantoms import ASSISTED, UNASSISTED, AssistanceSpec, read_lists
from radtransfer.stats.mrmc import ORComponents, ReaderStudy, obuchowski_rockette, sample_size

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from radtransfer.stats.result import Estimate

CONDITIONS = (UNASSISTED, ASSISTED)
FORM_COLUMNS = ("reader", "session", "block", "position", "case", "condition")
ANSWERS = ("rating", "decision", "seconds", "confidence")
"""What a reader fills in: suspicion 0 to 100, finding present 1 or 0, reading time, confidence 1 to 5."""

PILOT_CASES, PILOT_READERS = 300, 10

INSTRUCTIONS = """# Reading study

Each reader fills in the forms in `forms/`, one per session, from top to bottom, and reads nothing twice in a
session. Sessions are at least {washout} days apart. The condition of each case stands in its row: with
assistance the algorithm's output is shown from the start; without, it is hidden.

| column | what to write |
|---|---|
| rating | suspicion that the finding is present, 0 (none) to 100 (certain) |
| decision | 1 present, 0 absent |
| seconds | time from opening the case to the decision, taken by the viewer if it can |
| confidence | 1 very unsure, 2 unsure, 3 neither, 4 sure, 5 very sure |

Readers must not see the reference standard or each other's forms. When all forms are filled in:

    radtransfer readers analyse --reads forms --truth truth.csv
"""


def reading_lists(
    cases: Sequence[str],
    readers: Sequence[str],
    *,
    seed: int,
    truth: Sequence[int] | None = None,
) -> pd.DataFrame:
    """Randomised crossover reading lists.

    Parameters
    ----------
    cases, readers : sequence of str
        Labels, each once.
    seed : int
    truth : sequence of {0, 1}, optional
        Reference standard of each case, to split either class evenly between conditions. It is not written
        into the lists.

    Returns
    -------
    DataFrame
        Columns reader, session (1, 2), block (1, 2), position (from 1, within the session), case, condition.

    Raises
    ------
    InputError
        If a label is repeated, or there are fewer than two cases.
    """
    for kind, labels in (("case", cases), ("reader", readers)):
        if len(set(labels)) < len(labels):
            raise InputError(f"a {kind} is named twice")
    if len(cases) < 2 or not readers:
        raise InputError("a crossover needs two cases and a reader")
    rng = np.random.default_rng(seed)
    names = np.asarray(cases, dtype=object)
    stratum = np.zeros(len(names), dtype=int) if truth is None else np.asarray(truth)
    frames = []
    for number, reader in enumerate(readers):
        half = np.empty(len(names), dtype=int)
        for label in np.unique(stratum):
            rows = rng.permutation(np.flatnonzero(stratum == label))
            half[rows] = (np.arange(len(rows)) + number) % 2
        for session in (1, 2):
            order = [0, 1] if (number // 2 + session) % 2 else [1, 0]
            position = 0
            for block, assisted in enumerate(order, start=1):
                # assisted first in one half, second in the other
                chosen = rng.permutation(np.flatnonzero((half == session - 1) == bool(assisted)))
                frames.append(
                    pd.DataFrame(
                        {
                            "reader": reader,
                            "session": session,
                            "block": block,
                            "position": position + np.arange(1, len(chosen) + 1),
                            "case": names[chosen],
                            "condition": CONDITIONS[assisted],
                        }
                    )
                )
                position += len(chosen)
    return pd.concat(frames, ignore_index=True)


def pilot_components(reads: pd.DataFrame, truth: pd.Series) -> ORComponents:
    """Variance components of a pilot's ratings, for the sample size.

    Parameters
    ----------
    reads : DataFrame
        Columns reader, case, condition, rating.
    truth : Series of {0, 1}
        Reference standard by case.
    """
    study = ReaderStudy.from_long(
        rating=reads["rating"],
        truth=truth.loc[reads["case"]].to_numpy(),
        reader=reads["reader"],
        case=reads["case"],
        modality=reads["condition"],
    )
    return ORComponents.from_result(obuchowski_rockette(study))


def assumed_components(spec: AssistanceSpec) -> ORComponents:
    """Components that assumptions imply, from one large drawn pilot.

    Parameters
    ----------
    spec : AssistanceSpec
        Assumed accuracy, spread between readers and correlation; cases and readers are the pilot's own.
    """
    spec = replace(spec, n_cases=PILOT_CASES, n_readers=PILOT_READERS)
    lists, truth = phantom_lists(spec)
    return pilot_components(read_lists(lists, truth, spec), truth)


def phantom_lists(spec: AssistanceSpec) -> tuple[pd.DataFrame, pd.Series]:
    """Reading lists and reference standard of a phantom study.

    Returns
    -------
    lists : DataFrame
        As of :func:`reading_lists`.
    truth : Series of {0, 1}
    """
    cases = [f"case{i:04d}" for i in range(spec.n_cases)]
    rng = np.random.default_rng(spec.seed)
    positive = rng.permutation(np.arange(spec.n_cases) < round(spec.prevalence * spec.n_cases)).astype(int)
    truth = pd.Series(positive, index=pd.Index(cases, name="case"), name="truth")
    readers = [f"r{j + 1}" for j in range(spec.n_readers)]
    return reading_lists(cases, readers, seed=spec.seed, truth=positive.tolist()), truth


def cases_needed(
    components: ORComponents, *, difference: float, n_readers: int, power: float = 0.8
) -> Estimate:
    """Fewest cases for a difference in AUC, random readers and cases.

    Raises
    ------
    InputError
        If no number of cases is enough for so few readers.
    """
    try:
        return sample_size(
            components=components, difference=difference, n_readers=n_readers, target=power, largest=20_000
        )
    except ValueError as error:
        raise InputError(str(error)) from error


def write_design(folder: Path, lists: pd.DataFrame, *, washout_days: int, about: dict[str, object]) -> None:
    """Write reading lists and blank forms.

    Parameters
    ----------
    folder : Path
        Must not exist; gets ``design.json``, ``reading_lists.csv``, ``README.md`` and one form per reader and
        session in ``forms/``.
    lists : DataFrame
        As of :func:`reading_lists`.
    washout_days : int
        Days between the end of session 1 and the beginning of session 2.
    about : dict
        Assumptions and size, written to ``design.json``.
    """
    if folder.exists():
        raise InputError(f"{folder} exists", hint="name a new folder: a design is never overwritten")
    with atomic_folder(folder) as partial:
        lists.to_csv(partial / "reading_lists.csv", index=False, lineterminator="\n")
        (partial / "forms").mkdir()
        for (reader, session), rows in lists.groupby(["reader", "session"], sort=False):
            form = rows.sort_values("position").assign(**dict.fromkeys(ANSWERS, ""))
            form.to_csv(
                partial / "forms" / f"{reader}_session{session}.csv", index=False, lineterminator="\n"
            )
        write_text(partial / "README.md", INSTRUCTIONS.format(washout=washout_days))
        write_json(partial / "design.json", about | {"washout_days": washout_days})
