"""Every folder of the study, named once."""

from __future__ import annotations

import os
from pathlib import Path

from radtransfer.errors import InputError


def project_root() -> Path:
    """Folder of the study: the checkout that holds ``data_manifest.yaml``.

    ``RADTRANSFER_ROOT`` wins, then the checkout the package is installed from, then the
    nearest folder upwards of the current one.

    Raises
    ------
    InputError
        If no such folder is found.
    """
    if chosen := os.environ.get("RADTRANSFER_ROOT"):
        return Path(chosen).resolve()
    here = Path.cwd()
    for folder in (Path(__file__).resolve().parents[2], here, *here.parents):
        if (folder / "data_manifest.yaml").is_file():
            return folder
    raise InputError(
        f"no data_manifest.yaml above {here}",
        hint="run inside a checkout of the study or set RADTRANSFER_ROOT",
    )


def work_dir() -> Path:
    """Folder for everything that can be made again; ``RADTRANSFER_WORK`` moves it."""
    chosen = os.environ.get("RADTRANSFER_WORK")
    return Path(chosen).resolve() if chosen else project_root() / "work"


def raw_dir() -> Path:
    """Verified raw files, one folder a dataset."""
    return work_dir() / "raw"


def curated_dir() -> Path:
    """Curated datasets, named by content hash."""
    return work_dir() / "curated"


def weights_dir() -> Path:
    """Verified pretrained weights."""
    return work_dir() / "weights"


def features_dir() -> Path:
    """Stored augmented views and frozen-prefix activations, named by content hash."""
    return work_dir() / "features"


def runs_dir() -> Path:
    """Run records, named by the content hash of their spec."""
    return work_dir() / "runs"


def explanations_dir() -> Path:
    """Attribution maps of networks, named by the content hash of their spec."""
    return work_dir() / "explanations"


def study_dir(profile: str) -> Path:
    """Executed notebooks, records, figures and tables of one profile."""
    return work_dir() / "study" / profile


def manifest_path() -> Path:
    """Return the data manifest."""
    return project_root() / "data_manifest.yaml"


OWN_DATA = "own_data"
"""Folder of what the user adds to the manifest; not under version control."""


def own_manifest_path() -> Path:
    """Manifest of the user's own data."""
    return project_root() / OWN_DATA / "manifest.yaml"


def notebooks_dir() -> Path:
    """Notebooks of the study, without outputs."""
    return project_root() / "notebooks"


def profiles_dir() -> Path:
    """Return the profiles' folder."""
    return project_root() / "profiles"


def results_dir() -> Path:
    """Frozen published results; written only by ``radtransfer publish``."""
    return project_root() / "results"


def book_dir() -> Path:
    """Prose of the book."""
    return project_root() / "book"
