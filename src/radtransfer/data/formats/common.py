"""What several layouts need."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import pandas as pd
from pydantic import BaseModel, ValidationError

from radtransfer.data.cohort import Cohort
from radtransfer.errors import DataError, InputError, unknown_name
from radtransfer.hashing import sha256_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
"""Files that count as images, in lower or upper case."""


NO_PATIENTS = "patients are unknown: images of one patient may stand in several parts of a split"

Part = Literal["train", "validation", "test"]

SPLIT_NAMES: dict[str, Part] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
"""Names of parts, in lower or upper case, as folders and tables have them."""


def image_files(root: Path) -> list[str]:
    """Image files below a folder, relative and sorted.

    Hidden files and folders are left out, and with them what archives of macOS leave behind
    (``._name.png``, ``__MACOSX``).
    """
    return sorted(
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not any(part.startswith((".", "__MACOSX")) for part in path.relative_to(root).parts)
        and path.is_file()
    )


def by_stem(paths: Iterable[str]) -> dict[str, str]:
    """File name without suffix to path.

    Raises
    ------
    DataError
        If two files of different folders have the same name.
    """
    found: dict[str, str] = {}
    for path in paths:
        stem = PurePosixPath(path).stem
        if stem in found:
            raise DataError(f"two images are called {stem}: {found[stem]} and {path}", hint="remove one")
        found[stem] = path
    return found


def identical_files(root: Path, paths: Mapping[str, str]) -> dict[str, str]:
    """Images whose files have the same bytes as another's.

    Parameters
    ----------
    root : Path
    paths : mapping of str to str
        Image to path below the root.

    Returns
    -------
    dict of str to str
        For each image that has a copy, the smallest name among the copies.
    """
    same_size: dict[int, list[str]] = defaultdict(list)
    for image in sorted(paths):
        same_size[(root / paths[image]).stat().st_size].append(image)
    first: dict[str, str] = {}
    copies: dict[str, str] = {}
    for images in same_size.values():
        for image in images if len(images) > 1 else ():
            name = first.setdefault(sha256_file(root / paths[image]), image)
            if name != image:
                copies |= {name: name, image: name}
    return copies


def cohort(
    frame: pd.DataFrame,
    root: Path,
    tasks: tuple[str, ...],
    classes: Mapping[str, tuple[str, ...]] | None = None,
    *,
    modality: str = "unknown",
) -> Cohort:
    """Cohort of a frame; columns that a layout knows nothing of are null.

    Which dataset it is, and of which modality where the layout allows several, is the manifest's to say, see
    :func:`radtransfer.data.formats.read_cohort`; until then the folder's name stands for the dataset.
    """
    nothing: dict[str, Any] = {
        name: pd.Series(pd.NA, index=frame.index, dtype=kind)
        for name, kind in (("age_years", "Float64"), ("sex", "str"), ("view", "str"), ("site", "str"))
        if name not in frame
    }
    frame = frame.assign(dataset=root.name, modality=modality, **nothing)
    return Cohort(frame.sort_values("image_id"), root.name, tasks, classes or {})


Options = TypeVar("Options", bound=BaseModel)


def parse_options(model: type[Options], options: Mapping[str, Any], layout: str) -> Options:
    """Check the options of a manifest entry.

    Raises
    ------
    InputError
        If one is unknown, missing or of the wrong kind; names it, and the nearest that exists.
    """
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        # a misspelt option says more than that the right one is missing
        first = max(error.errors(), key=lambda problem: problem["type"] == "extra_forbidden")
        place = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise unknown_name(f"option of the layout {layout}", place, model.model_fields) from None
        raise InputError(f"option {place} of the layout {layout}: {first['msg']}") from None


def class_name(text: str) -> str:
    """Name of a class as it stands in keys: lower case, anything but letters and digits an underscore.

    Examples
    --------
    >>> class_name("No Tumour (healthy)")
    'no_tumour_healthy'
    """
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
