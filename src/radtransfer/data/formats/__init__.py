"""Dataset layouts, one module each, with the same contract.

A layout has ``read_cohort(root, options)``, which gives the :class:`~radtransfer.data.cohort.Cohort` of
what lies in a folder of verified files, and ``read_image(root, row)``, which decodes one of its rows to
grey levels. The options are those of the manifest entry; layouts that leave nothing to choose take none.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, cast

from radtransfer.errors import DataError, InputError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from radtransfer.data.cohort import Cohort
    from radtransfer.data.images import Grey
    from radtransfer.data.manifest import Dataset

NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})

FORMATS = (
    "nih_pneumonia",
    "chestxray14",
    "rsna_pneumonia",
    "luna16",
    "kermany",
    "phe_sich",
    "brain_tumor_mri",
    "medmnist",
    "folder",
    "table",
    "dicom",
    "nifti",
    "phantom",
)


class Format(Protocol):
    """What every layout module offers."""

    def read_cohort(self, root: Path, options: Mapping[str, Any] = NO_OPTIONS) -> Cohort:
        """Cohort of the files in a folder."""
        ...

    def read_image(self, root: Path, row: Mapping[str, Any]) -> Grey:
        """Pixels of one row of the cohort, shape (H, W)."""
        ...


def load_format(name: str | None) -> Format:
    """Layout module by name.

    Raises
    ------
    InputError
        If there is none, and names the nearest; or if the dataset is one of tables without images.
    """
    if name is None:
        raise InputError("this dataset has no images", hint="radtransfer data describe tells what it has")
    if name not in FORMATS:
        raise unknown_name("format", name, FORMATS)
    return cast("Format", import_module(f"{__name__}.{name}"))


def findings(entry: Dataset, root: Path) -> tuple[str, ...]:
    """What a layout has to tell of a folder beyond its cohort, in sentences for people.

    Parameters
    ----------
    entry : Dataset
    root : Path
        Folder of files.
    """
    told = getattr(load_format(entry.format), "findings", None)
    return told(root, entry.options) if told else ()


def read_cohort(entry: Dataset, root: Path) -> Cohort:
    """Cohort of a manifest entry's files.

    Parameters
    ----------
    entry : Dataset
        Says layout and options, and gives the cohort its dataset and modality.
    root : Path
        Folder of verified files.

    Returns
    -------
    Cohort

    Raises
    ------
    InputError, DataError
        If a table or file is broken; the message names it and says what to do.
    """
    try:
        cohort = load_format(entry.format).read_cohort(root, entry.options)
    except (InputError, DataError) as error:
        if error.hint:
            raise
        advice = f"correct it, or restore it: radtransfer data fetch {entry.id}"
        raise type(error)(f"{entry.id}: {error.message}", hint=advice) from error
    frame = cohort.frame.assign(dataset=entry.id, modality=entry.modality)
    return replace(cohort, dataset=entry.id, frame=frame)
