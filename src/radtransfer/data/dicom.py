"""DICOM files: what their headers say, and their pixels as a viewer shows them.

Grey levels go the way of PS3.3 C.11: stored values, rescale slope and intercept or modality lookup table,
then a window or VOI lookup table, then inversion where zero is white (MONOCHROME1). Without any window,
unsigned images of up to eight bits are shown as they are, and all others from their least to their greatest
value. Pixels of the padding value are black. Colour becomes luma (ITU-R BT.601), as for other image files.

Files are read with pydicom. Nothing in a file is executed, and a damaged one ends in a
:class:`~radtransfer.data.images.DecodeError` whatever pydicom makes of it.
"""

from __future__ import annotations

import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.filereader import read_file_meta_info
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian
from scipy.special import expit

from radtransfer.data.demographics import parse_age, parse_sex
from radtransfer.data.images import DecodeError, Grey
from radtransfer.errors import RadtransferError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_PIXELS: Final = 2 * 89_478_485
"""Pixels of one frame above which a file is refused, Pillow's limit for other image files."""

MAX_FRAMES: Final = 1 << 16
"""Frames of one file above which it is refused."""

MAX_INFLATED_BYTES: Final = 1 << 30
"""Size above which a deflated data set is refused."""

MODALITIES: Final = {"CR": "xray", "DX": "xray", "RG": "xray", "CT": "ct", "MR": "mri"}
"""DICOM's codes (PS3.3 C.7.3.1.1.1) for the study's modalities; others stay as they are, in lower case."""

_PREFIX: Final = b"DICM"
_PREAMBLE_BYTES: Final = 128
_DATA_SET_START: Final = _PREAMBLE_BYTES + 4 + 12
"""Where the file meta information would end if it were empty after its length."""

_HEADER_TAGS: Final[list[Any]] = [
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "PatientID",
    "PatientAge",
    "PatientSex",
    "ViewPosition",
    "Modality",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]


@dataclass(frozen=True)
class Header:
    """What a DICOM file says of itself; what it does not say is None or empty.

    Attributes
    ----------
    instance, series, study : str
        Unique identifiers.
    patient_id : str
    age_years : float or None
    sex : {"F", "M"} or None
    view : str or None
        View position, such as PA.
    modality : str
        See :data:`MODALITIES`.
    height, width : int
        Pixels; 0 if the file is no image.
    n_frames : int
    orientation : tuple of float or None
        Direction cosines of rows and columns, six numbers, if all frames share them.
    positions : tuple of float or None
        Position of every frame along the normal of the image plane, mm.
    """

    instance: str
    series: str
    study: str
    patient_id: str
    age_years: float | None
    sex: str | None
    view: str | None
    modality: str
    height: int
    width: int
    n_frames: int
    orientation: tuple[float, ...] | None
    positions: tuple[float, ...] | None

    @property
    def is_image(self) -> bool:
        """Whether the file has pixels, unlike a report or a presentation state."""
        return self.height > 0 and self.width > 0


def is_dicom(path: Path) -> bool:
    """Whether a file begins as a DICOM file (PS3.10, 7.1)."""
    with path.open("rb") as file:
        return file.read(_PREAMBLE_BYTES + len(_PREFIX)).endswith(_PREFIX, _PREAMBLE_BYTES)


def read_header(path: Path) -> Header:
    """Read what a file says of its image and patient.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Header

    Raises
    ------
    DecodeError
        If the file is no DICOM file, or is damaged.
    """
    with _one_error(path):
        dataset = read_dataset(path, specific_tags=_HEADER_TAGS)
        n_frames = int(dataset.get("NumberOfFrames") or 1)
        if not 1 <= n_frames <= MAX_FRAMES:
            raise DecodeError(f"{path} tells of {n_frames} frames")
        orientation, positions = _planes(dataset, n_frames)
        code = _text(dataset, "Modality").upper()
        return Header(
            instance=_text(dataset, "SOPInstanceUID"),
            series=_text(dataset, "SeriesInstanceUID"),
            study=_text(dataset, "StudyInstanceUID"),
            patient_id=_text(dataset, "PatientID"),
            age_years=parse_age(_text(dataset, "PatientAge")),
            sex=parse_sex(_text(dataset, "PatientSex")),
            view=_text(dataset, "ViewPosition") or None,
            modality=MODALITIES.get(code, code.lower()),
            height=int(dataset.get("Rows") or 0),
            width=int(dataset.get("Columns") or 0),
            n_frames=n_frames,
            orientation=orientation,
            positions=positions,
        )


def read_dataset(path: Path, *, specific_tags: list[Any] | None = None) -> Dataset:
    """Read all attributes of a file but its pixels.

    Parameters
    ----------
    path : Path
    specific_tags : list, optional
        Only these.

    Raises
    ------
    DecodeError
        If the file is no DICOM file, or is damaged.
    """
    with _one_error(path):
        _refuse_bomb(path)
        return dcmread(path, stop_before_pixels=True, specific_tags=specific_tags)


def read_frame(path: Path, *, frame: int = 0, window: tuple[float, float] | None = None) -> Grey:
    """Render one frame of a file.

    Parameters
    ----------
    path : Path
    frame : int
        Frame of a multi-frame file, from 0.
    window : tuple of float, optional
        Centre and width in units of the rescaled values (HU for CT); default: the first that the file
        proposes.

    Returns
    -------
    ndarray of uint8, shape (height, width)

    Raises
    ------
    DecodeError
        If the file is damaged or has no such frame, or its transfer syntax needs a decoder that is not
        installed; the message names the transfer syntax.
    """
    with _one_error(path):
        dataset = read_dataset(path)
        _check_readable(path, dataset, frame)
        # by path only this frame is read, but pydicom does not inflate then
        deflated = dataset.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian
        stored = pixel_array(dcmread(path) if deflated else path, index=frame)
        if stored.dtype.kind not in "iub":
            raise DecodeError(f"{path} has pixels of type {stored.dtype}, not whole numbers")
        interpretation = _text(dataset, "PhotometricInterpretation").upper()
        if interpretation == "PALETTE COLOR":
            stored = apply_color_lut(stored, dataset)
            return _luma(stored, 8 * stored.dtype.itemsize)
        if stored.ndim == 3:
            return _luma(stored, int(dataset.BitsStored))
        shown = np.clip(_shown(stored, _with_functional_groups(dataset, frame), window), 0, 1)
        if interpretation == "MONOCHROME1":
            shown = 1 - shown
        return np.where(_padding(stored, dataset), 0, np.rint(shown * 255)).astype(np.uint8)


def apply_window(
    values: NDArray[Any], center: float, width: float, *, function: str = "LINEAR_EXACT"
) -> NDArray[np.float64]:
    """Window values to 0 (black) to 1 (white).

    Parameters
    ----------
    values : ndarray
    center, width : float
        In units of the values.
    function : {"LINEAR_EXACT", "LINEAR", "SIGMOID"}
        PS3.3 C.11.2.1.3.2, C.11.2.1.2.1 and C.11.2.1.3.1. A file that names none means LINEAR, whose window
        is half a unit lower and one unit narrower.

    Returns
    -------
    ndarray of float64, same shape

    Raises
    ------
    ValueError
        If the width is not positive, below 1 for LINEAR, or the function is another.
    """
    if not width > 0 or (function == "LINEAR" and width < 1) or not np.isfinite([center, width]).all():
        raise ValueError(f"a {function} window of centre {center:g} and width {width:g} shows nothing")
    levels = values.astype(np.float64)
    if function == "LINEAR":
        center, width = center - 0.5, width - 1
        if width == 0:
            return (levels > center).astype(np.float64)
    elif function == "SIGMOID":
        return np.asarray(expit(4 * (levels - center) / width))
    elif function != "LINEAR_EXACT":
        raise ValueError(f"VOI LUT function {function!r} is unknown")
    return np.asarray(np.clip((levels - center) / width + 0.5, 0, 1))


@contextmanager
def _one_error(path: Path) -> Iterator[None]:
    """Turn whatever a third-party reader raises on a damaged file into one error that names the file."""
    try:
        yield
    except RadtransferError:
        raise
    except FileNotFoundError:
        raise DecodeError(f"{path} is missing") from None
    except Exception as error:  # pydicom's readers raise nearly every type there is
        told = str(error).strip().splitlines() or [type(error).__name__]
        raise DecodeError(f"{path} does not decode: {told[0]}") from error


def _refuse_bomb(path: Path) -> None:
    """Refuse a deflated data set that would not fit into memory; pydicom inflates it all at once."""
    meta = read_file_meta_info(path)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    inflate, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    with path.open("rb") as file:
        file.seek(_DATA_SET_START + int(meta.FileMetaInformationGroupLength))
        while size <= MAX_INFLATED_BYTES and (packed := inflate.unconsumed_tail or file.read(1 << 16)):
            size += len(inflate.decompress(packed, 1 << 20))
    if size > MAX_INFLATED_BYTES:
        raise DecodeError(f"{path} inflates to more than {MAX_INFLATED_BYTES >> 20} MiB")


def _check_readable(path: Path, dataset: Dataset, frame: int) -> None:
    n_frames = int(dataset.get("NumberOfFrames") or 1)
    if not 0 <= frame < n_frames:
        raise DecodeError(f"{path} has no frame {frame}; it has {n_frames}")
    if int(dataset.Rows) * int(dataset.Columns) > MAX_PIXELS:
        raise DecodeError(f"{path} has frames of {dataset.Columns}x{dataset.Rows} px, more than is read")
    syntax = UID(str(dataset.file_meta.TransferSyntaxUID))
    try:
        installed = get_decoder(syntax).is_available
    except NotImplementedError:
        installed = False
    if not installed:
        raise DecodeError(
            f"{path} has the transfer syntax {syntax.name} ({syntax}), for which no decoder is installed",
            hint="convert it to Explicit VR Little Endian, or install pylibjpeg with its plugins",
        )


def _with_functional_groups(dataset: Dataset, frame: int) -> Dataset:
    """Data set with the frame's own rescale and window, where an enhanced multi-frame file has them."""
    for name in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
        if item := _group(dataset, frame, name):
            dataset.update(item)
    return dataset


def _group(dataset: Dataset, frame: int, name: str) -> Dataset | None:
    """Item of a functional group: the frame's own, or the one that all frames share."""
    own = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    for groups in (*own[frame : frame + 1], *shared[:1]):
        if items := groups.get(name):
            item: Dataset = items[0]
            return item
    return None


def _shown(stored: NDArray[Any], dataset: Dataset, window: tuple[float, float] | None) -> NDArray[np.float64]:
    """Levels of a grey image, 0 to 1, before inversion."""
    values = apply_modality_lut(stored, dataset)
    if not np.isfinite(values).all():
        raise ValueError("its rescale slope and intercept give no finite values")
    if window is not None:
        return apply_window(values, *window)
    if items := dataset.get("VOILUTSequence"):
        bits = int(items[0].LUTDescriptor[2])
        table: NDArray[Any] = apply_voi(np.rint(values).astype(np.int64), dataset)
        return np.asarray(table / (2**bits - 1))
    if dataset.get("WindowCenter") is not None and dataset.get("WindowWidth") is not None:
        center, width = (
            float(np.atleast_1d(dataset[name].value)[0]) for name in ("WindowCenter", "WindowWidth")
        )
        function = _text(dataset, "VOILUTFunction").upper() or "LINEAR"
        return apply_window(values, center, width, function=function)
    if stored.dtype.kind == "b" or (values is stored and stored.dtype == np.uint8):
        return np.asarray(stored / (2 ** int(dataset.BitsStored) - 1))
    inside = values[~_padding(stored, dataset)].astype(np.float64)
    low, high = (inside.min(), inside.max()) if inside.size else (0.0, 0.0)
    return np.asarray((values - low) / (high - low or 1.0))


def _padding(stored: NDArray[Any], dataset: Dataset) -> NDArray[np.bool_]:
    """Pixels outside the field of view (PS3.3 C.7.5.1.1.2)."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, dtype=bool)
    limit = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((int(value), int(value if limit is None else limit)))
    return (stored >= low) & (stored <= high)


def _luma(colour: NDArray[Any], bits: int) -> Grey:
    if colour.ndim != 3 or colour.shape[2] < 3:
        raise ValueError(f"a colour image has the shape {colour.shape}")
    eight_bits = np.rint(colour[..., :3] * (255 / (2**bits - 1))).clip(0, 255).astype(np.uint8)
    return np.asarray(Image.fromarray(eight_bits).convert("L"))


def _planes(dataset: Dataset, n_frames: int) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Orientation and positions of the frames, if all are known and all planes are parallel."""
    if n_frames > 1 and len(dataset.get("PerFrameFunctionalGroupsSequence") or []) != n_frames:
        return None, None
    orientation, positions = None, []
    for frame in range(n_frames):
        sources = (_group(dataset, frame, "PlanePositionSequence"), dataset)
        place = next((s.ImagePositionPatient for s in sources if s and "ImagePositionPatient" in s), None)
        sources = (_group(dataset, frame, "PlaneOrientationSequence"), dataset)
        plane = next(
            (s.ImageOrientationPatient for s in sources if s and "ImageOrientationPatient" in s), None
        )
        if place is None or plane is None or len(place) != 3 or len(plane) != 6:
            return None, None
        if not np.isfinite([*place, *plane]).all():
            return None, None
        cosines = tuple(map(float, plane))
        orientation = orientation or cosines
        if not np.allclose(orientation, cosines, atol=1e-3):
            return None, None
        normal = np.cross(orientation[:3], orientation[3:])
        positions.append(float(normal @ np.asarray(place, dtype=float)))
    return orientation, tuple(positions)


def _text(dataset: Dataset, name: str) -> str:
    value = dataset.get(name)
    return "" if value is None else str(value).strip()
