"""NIH ChestX-ray14 in its official layout.

Files that are read:

- ``Data_Entry_2017_v2020.csv`` (or ``Data_Entry_2017.csv``, where ages are ``058Y``): 112,120 rows, one per
image; - ``images_001`` to ``images_012``, each with a folder ``images``, or one folder ``images``: PNG
files of
  1024 x 1024 px, most of one channel, some RGBA;
- ``train_val_list.txt`` and ``test_list.txt``: the official split;
- ``BBox_List_2017.csv``: 984 boxes on 880 images;
- ``google2019_nih-chest-xray-labels.csv``, or ``four_findings_expert_labels/validation_labels.csv`` and
  ``test_labels.csv`` beside it: four findings adjudicated by radiologists (Majkowska et al., Radiology
  2020;294:421).

Only the first and the images must be there. Every table may be gzipped. The NIH's labels were mined from
reports; a finding that is not in an image's list was not mentioned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import pandas as pd

from radtransfer.data.boxes import SIDES, attach_boxes
from radtransfer.data.cohort import LABEL, Cohort
from radtransfer.data.delimited import read_delimited
from radtransfer.data.demographics import ages, sexes
from radtransfer.data.formats import NO_OPTIONS
from radtransfer.data.images import decode
from radtransfer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from radtransfer.data.images import Grey

TABLE: Final = "Data_Entry_2017_v2020.csv"
OLDER_TABLE: Final = "Data_Entry_2017.csv"
BOXES: Final = "BBox_List_2017.csv"
SPLIT_LISTS: Final = {"train_val_list.txt": "train", "test_list.txt": "test"}
ADJUDICATED: Final = (
    "google2019_nih-chest-xray-labels.csv",
    "four_findings_expert_labels/validation_labels.csv",
    "four_findings_expert_labels/test_labels.csv",
)

FINDINGS: Final = (
    "Pneumonia",
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Effusion",
    "Emphysema",
    "Fibrosis",
    "Hernia",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pleural_Thickening",
    "Pneumothorax",
)
NO_FINDING: Final = "No Finding"
MOST_VISITS: Final = 10_000
"""Numbers of visits above this are errors; the largest of the collection is 183."""
ADJUDICATED_FINDINGS: Final = ("Fracture", "Pneumothorax", "Airspace opacity", "Nodule or mass")

COLUMNS: Final = (
    "Image Index",
    "Finding Labels",
    "Follow-up #",
    "Patient ID",
    "Patient Age",
    "Patient Gender",
    "View Position",
)
_ADJUDICATED_SETS: Final = {"val": "validation", "validation": "validation", "test": "test"}


def read_cohort(root: Path, options: Mapping[str, Any] = NO_OPTIONS) -> Cohort:
    """Cohort of the images that are there.

    Parameters
    ----------
    root : Path
        Folder in the official layout; it need not hold all images.
    options : mapping
        None are known.

    Returns
    -------
    Cohort
        For each of the fourteen findings two tasks: ``<finding>``, the finding (1) against No Finding (0)
        with all other images unknown, and ``<finding>_v_rest``, the finding (1) against every other image
        (0). For each of the four adjudicated findings a task ``adjudicated_<finding>``, unknown where no
        radiologist read the image. Columns beyond the standard ones: ``findings``, the NIH's list;
        ``follow_up``; ``boxes`` (see :mod:`radtransfer.data.boxes`); ``adjudicated_set``, validation or
        test. ``frame.attrs["rows_without_file"]`` counts the rows of the table whose image is not there.

    Raises
    ------
    DataError
        If the table is missing, damaged, or lacks an image that is there.
    """
    table = read_table(root)
    files = _image_files(root)
    cohort = cohort_of(table, files, dataset="chestxray14")
    frame = cohort.frame.assign(**_finding_labels(cohort.frame["findings"]))
    tasks = [name.removeprefix(LABEL) for name in map(str, frame.columns) if name.startswith(LABEL)]
    if any((root / name).is_file() for name in SPLIT_LISTS):
        frame["official_split"] = frame["image_id"].map(_official_split(root)).astype("str")
    if _find(root, BOXES) is not None:
        frame = attach_boxes(frame, read_boxes(root))
    adjudicated = [path for name in ADJUDICATED if (path := _find(root, name)) is not None]
    if adjudicated:
        frame = frame.merge(_read_adjudicated(adjudicated), how="left", on="image_id")
        tasks += [f"adjudicated_{_task(finding)}" for finding in ADJUDICATED_FINDINGS]
    frame.attrs["rows_without_file"] = len(table) - len(frame)
    return Cohort(frame, cohort.dataset, tuple(tasks))


def read_image(root: Path, row: Mapping[str, Any]) -> Grey:
    """Decode the image of one row of the cohort."""
    return decode(root / row["path"])


def findings(root: Path, options: Mapping[str, Any] = NO_OPTIONS) -> tuple[str, ...]:
    """Say how many images of the table are not there."""
    n_missing = read_cohort(root, options).frame.attrs["rows_without_file"]
    return (f"{n_missing} images of the NIH's table are not there",) if n_missing else ()


def read_table(root: Path) -> pd.DataFrame:
    """NIH's table of all images, columns as upstream, all text.

    Raises
    ------
    DataError
        If it is missing, damaged, lacks a column or lists an image twice.
    """
    for name in (TABLE, OLDER_TABLE):
        if (path := _find(root, name)) is not None:
            table = read_delimited(path, required=COLUMNS)
            refuse_repeated(table, path)
            return table
    raise DataError(f"{TABLE} is missing in {root}", hint="radtransfer data fetch brings it")


def cohort_of(table: pd.DataFrame, files: dict[str, str], *, dataset: str) -> Cohort:
    """Cohort of the listed files from rows of NIH's table.

    Parameters
    ----------
    table : DataFrame
        Columns as in NIH's table, text.
    files : dict of str to str
        Image name to path below the root.
    dataset : str
        Id of the dataset.

    Returns
    -------
    Cohort
        Task pneumonia: label list contains Pneumonia (1) or is No Finding (0); others are unknown.

    Raises
    ------
    DataError
        If the table lacks a column or a file.
    """
    if missing := [name for name in COLUMNS if name not in table]:
        raise DataError(f"{dataset}: NIH's table has no column {missing[0]!r}")
    rows = table.loc[table["Image Index"].isin(files)].sort_values("Image Index")
    unknown = sorted(set(files) - set(rows["Image Index"]))
    if unknown:
        raise DataError(f"{dataset}: {len(unknown)} images are not in NIH's table, first {unknown[0]}")
    for column in ("Finding Labels", "Patient ID"):
        if rows[column].isna().any():
            image = rows.loc[rows[column].isna(), "Image Index"].iloc[0]
            raise DataError(f"{dataset}: NIH's table has no {column!r} for {image}")
    return Cohort(
        pd.DataFrame(
            {
                "image_id": rows["Image Index"].str.removesuffix(".png"),
                "patient_id": rows["Patient ID"].str.zfill(8),
                "group_id": rows["Image Index"].str.removesuffix(".png"),
                "dataset": dataset,
                "modality": "xray",
                "path": rows["Image Index"].map(files),
                "age_years": ages(rows["Patient Age"]),
                "sex": sexes(rows["Patient Gender"]),
                "view": rows["View Position"],
                "site": "NIH Clinical Center",
                "label_pneumonia": _against_no_finding(rows["Finding Labels"], "Pneumonia"),
                "findings": rows["Finding Labels"],
                "follow_up": _whole(rows["Follow-up #"]),
            }
        ),
        dataset=dataset,
        tasks=("pneumonia",),
    )


def _find(root: Path, name: str) -> Path | None:
    """A table, gzipped or not."""
    return next((path for path in (root / name, root / f"{name}.gz") if path.is_file()), None)


def _image_files(root: Path) -> dict[str, str]:
    """Image name to path below the root."""
    files: dict[str, str] = {}
    for folder in sorted((*root.glob("images_*/images"), root / "images")):
        below = folder.relative_to(root).as_posix()
        for path in folder.glob("*.png"):
            if path.name in files:
                raise DataError(f"{path.name} lies in {root} twice: {files[path.name]} and in {below}")
            files[path.name] = f"{below}/{path.name}"
    if not files:
        raise DataError(f"{root} has no images", hint="expected images_001/images/*.png or images/*.png")
    return files


def _has(findings: pd.Series[Any], finding: str) -> pd.Series[Any]:
    # the lists are few among many rows: splitting each distinct one once is what makes this fast
    having = {text for text in findings.unique() if finding in text.split("|")}
    return findings.isin(having)


def _against_no_finding(findings: pd.Series[Any], finding: str) -> pd.Series[Any]:
    positive = _has(findings, finding)
    return positive.astype("Int64").where(positive | (findings == NO_FINDING))


def _finding_labels(findings: pd.Series[Any]) -> dict[str, pd.Series[Any]]:
    labels = {f"{LABEL}{_task(name)}": _against_no_finding(findings, name) for name in FINDINGS}
    labels |= {f"{LABEL}{_task(name)}_v_rest": _has(findings, name).astype("Int64") for name in FINDINGS}
    return labels


def _task(finding: str) -> str:
    return finding.lower().replace(" ", "_")


def _whole(cells: pd.Series[Any]) -> pd.Series[Any]:
    """Numbers of visits; what is none is null."""
    numbers = pd.to_numeric(cells, errors="coerce")
    return numbers.where(numbers.between(0, MOST_VISITS) & (numbers % 1 == 0)).astype("Int64")


def refuse_repeated(table: pd.DataFrame, path: Path) -> None:
    """Refuse a table that lists an image twice, or a row without one."""
    repeated = table.loc[table["Image Index"].duplicated(), "Image Index"]
    if len(repeated):
        raise DataError(f"{path} lists {repeated.iloc[0]} twice ({len(repeated)} such rows)")
    if table["Image Index"].isna().any():
        raise DataError(f"{path} has a row without 'Image Index'")


def _official_split(root: Path) -> dict[str, str]:
    part_of: dict[str, str] = {}
    for name, part in SPLIT_LISTS.items():
        path = root / name
        try:
            images = path.read_text(encoding="utf-8-sig").split()
        except FileNotFoundError:
            raise DataError(f"{path} is missing, but the other list of the official split is there") from None
        except UnicodeDecodeError:
            raise DataError(f"{path} is no text file") from None
        for image in images:
            if part_of.setdefault(image.removesuffix(".png"), part) != part:
                raise DataError(f"{image} is in both lists of the official split in {root}")
    return part_of


def read_boxes(root: Path) -> pd.DataFrame:
    """All boxes of the NIH's list, also those on images that are not there.

    Parameters
    ----------
    root : Path
        Folder in the official layout.

    Returns
    -------
    DataFrame
        One row per box: ``image_id``, ``finding`` and :data:`SIDES`.

    Raises
    ------
    DataError
        If the list is missing or damaged.
    """
    path = _find(root, BOXES)
    if path is None:
        raise DataError(f"{root} has no {BOXES}")
    # the header has one name for four columns, so columns are taken by place
    names = ["image", "finding", *SIDES]
    try:
        table = pd.read_csv(
            path, names=names, usecols=range(6), header=0, index_col=False, encoding="utf-8-sig"
        )
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    try:
        numbers = table[list(SIDES)].apply(pd.to_numeric, errors="coerce")
    except OverflowError as error:
        raise DataError(f"{path} has a number that is too large for a box") from error
    broken = (
        numbers.isna().any(axis=1) | (numbers[["width", "height"]] <= 0).any(axis=1) | table["image"].isna()
    )
    if broken.any():
        raise DataError(f"{path}, line {int(broken.idxmax()) + 2}: no box")
    numbers["image_id"] = table["image"].astype("str").str.removesuffix(".png")
    # the list of boxes names one finding otherwise than the table
    numbers["finding"] = table["finding"].replace("Infiltrate", "Infiltration")
    return cast("pd.DataFrame", numbers)


def _read_adjudicated(paths: Iterable[Path]) -> pd.DataFrame:
    parts = []
    for path in paths:
        table = read_delimited(path, required=["Image Index", *ADJUDICATED_FINDINGS])
        refuse_repeated(table, path)
        answers = table[list(ADJUDICATED_FINDINGS)]
        if not answers.isin(["YES", "NO"]).all(axis=None):
            raise DataError(f"{path} has an answer other than YES and NO")
        labels = {
            f"{LABEL}adjudicated_{_task(finding)}": (answers[finding] == "YES").astype("Int64")
            for finding in ADJUDICATED_FINDINGS
        }
        part = path.name.partition("_")[0] if "Set Id" not in table else table["Set Id"]
        parts.append(
            pd.DataFrame({"image_id": table["Image Index"].str.removesuffix(".png"), **labels}).assign(
                adjudicated_set=pd.Series(part, index=table.index, dtype="str").map(_ADJUDICATED_SETS)
            )
        )
    whole = pd.concat(parts, ignore_index=True)
    if whole["image_id"].duplicated().any():
        raise DataError(
            f"two tables adjudicate {whole.loc[whole['image_id'].duplicated(), 'image_id'].iloc[0]}"
        )
    return whole
