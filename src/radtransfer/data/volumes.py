"""Volumes on a grid in space: MetaImage (``.mhd`` with ``.raw``) and NIfTI, read with SimpleITK.

World coordinates are those of ITK and DICOM: millimetres, x to the patient's left, y to the back, z to the
head (LPS). A volume's direction says where its axes point; it is never left out.

Headers are checked before SimpleITK sees them: a header may neither name a file in another folder nor
promise more voxels than its file can hold.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from radtransfer.data.images import DecodeError
from radtransfer.errors import RadtransferError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_VOLUME_BYTES: Final = 1 << 32
"""Size of the voxels above which a volume is refused."""

DEFLATE_RATIO: Final = 1032
"""The most by which deflate can shrink anything: a header that promises more is wrong."""

NIFTI_SUFFIXES: Final = (".nii", ".nii.gz")

_MHD_BYTES: Final = 1 << 16
"""More than any MetaImage header; what is longer is none."""

_MET_BYTES: Final = {
    "MET_CHAR": 1,
    "MET_UCHAR": 1,
    "MET_SHORT": 2,
    "MET_USHORT": 2,
    "MET_INT": 4,
    "MET_UINT": 4,
    "MET_FLOAT": 4,
    "MET_DOUBLE": 8,
}
_PLAIN_MHD: Final = {
    "ElementNumberOfChannels": "1",
    "HeaderSize": "0",
    "CompressedData": "False",
    "BinaryData": "True",
}
_NIFTI_HEADER_BYTES: Final = 348
_CHUNK: Final = 1 << 20

sitk.ProcessObject.SetGlobalWarningDisplay(False)


@dataclass(frozen=True)
class Grid:
    """Where the voxels of a volume are.

    Attributes
    ----------
    size : tuple of int
        Voxels along x, y, z of the grid.
    origin : tuple of float
        World position of the first voxel's centre, mm.
    spacing : tuple of float
        Between voxels, mm.
    direction : ndarray, shape (3, 3)
        Columns are the directions of the grid's axes in the world.
    """

    size: tuple[int, ...]
    origin: tuple[float, ...]
    spacing: tuple[float, ...]
    direction: NDArray[np.float64]

    def to_voxels(self, world: Any) -> NDArray[np.float64]:
        """Continuous voxel coordinates of world positions.

        Parameters
        ----------
        world : array_like, shape (n, 3)
            Positions in mm.

        Returns
        -------
        ndarray, shape (n, 3)
            Whole numbers are centres of voxels.
        """
        steps = self.direction * np.asarray(self.spacing)
        return np.linalg.solve(steps, (np.asarray(world, dtype=float) - self.origin).T).T

    def to_world(self, voxels: Any) -> NDArray[np.float64]:
        """World positions of voxel coordinates, the inverse of :meth:`to_voxels`."""
        steps = self.direction * np.asarray(self.spacing)
        return np.asarray(np.asarray(voxels, dtype=float) @ steps.T + self.origin)

    def contains(self, voxels: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether continuous coordinates lie in a voxel of the volume, shape (n,)."""
        return np.asarray(((voxels >= -0.5) & (voxels <= np.asarray(self.size) - 0.5)).all(axis=-1))


def read_grid(path: Path) -> Grid:
    """Read where the voxels of a volume are, without them.

    Raises
    ------
    DecodeError
        If the file is damaged or no volume of three dimensions.
    """
    with _one_error(path):
        reader = _open(path, voxels=False)
        if reader.GetDimension() != 3:
            raise DecodeError(f"{path} has {reader.GetDimension()} dimensions, not 3")
        grid = Grid(
            size=tuple(reader.GetSize()),
            origin=tuple(reader.GetOrigin()),
            spacing=tuple(reader.GetSpacing()),
            direction=np.array(reader.GetDirection()).reshape(3, 3),
        )
        if not np.isfinite([*grid.origin, *grid.spacing]).all() or min(grid.spacing) <= 0:
            raise DecodeError(f"{path} has voxels of {grid.spacing} mm at {grid.origin}")
        if not abs(np.linalg.det(grid.direction)) > 1e-6:
            raise DecodeError(f"{path} has axes that do not span space")
        return grid


def count_slices(path: Path) -> int:
    """Count the axial slices of a volume, whatever way it is stored; 1 for an image of two dimensions.

    Raises
    ------
    DecodeError
        If the file is damaged.
    """
    with _one_error(path):
        reader = _open(path, voxels=False)
        rank = reader.GetDimension()
        if rank < 3:
            return 1
        direction = np.array(reader.GetDirection()).reshape(rank, rank)[:3, :3]
        letters = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(direction.ravel().tolist())
        axis = next(i for i, letter in enumerate(letters) if letter in "IS")
        return int(reader.GetSize()[axis])


def read_block(path: Path, start: Sequence[int], size: Sequence[int]) -> sitk.Image:
    """Read a block of a volume; of an unpacked file no other voxels are read.

    Parameters
    ----------
    path : Path
    start, size : sequence of int
        First voxel and number of voxels along x, y, z.

    Raises
    ------
    DecodeError
        If the file is damaged.
    """
    with _one_error(path):
        reader = _open(path, voxels=True)
        reader.SetExtractIndex([int(first) for first in start])
        reader.SetExtractSize([int(count) for count in size])
        return cast("sitk.Image", reader.Execute())


def read_volume(path: Path) -> sitk.Image:
    """Read a whole image of two or three dimensions.

    Raises
    ------
    DecodeError
        If the file is damaged, or has other dimensions or several values per voxel.
    """
    with _one_error(path):
        reader = _open(path, voxels=True)
        image = reader.Execute()
        # a series of one, as converters write it
        while image.GetDimension() > 3 and image.GetSize()[-1] == 1:
            image = image[..., 0]
        if image.GetDimension() not in (2, 3) or image.GetNumberOfComponentsPerPixel() != 1:
            n_values = image.GetNumberOfComponentsPerPixel()
            raise DecodeError(
                f"{path} has {image.GetDimension()} dimensions and {n_values} values per voxel, "
                "not 2 or 3 and one"
            )
        return cast("sitk.Image", image)


def _open(path: Path, *, voxels: bool) -> sitk.ImageFileReader:
    """Check a file, with its voxels if they are to be read, and open it."""
    if path.suffix == ".mhd":
        _check_mhd(path)
    elif path.name.endswith(NIFTI_SUFFIXES):
        _check_nifti(path, voxels)
    else:
        raise DecodeError(f"{path} is neither MetaImage (.mhd) nor NIfTI (.nii, .nii.gz)")
    reader = sitk.ImageFileReader()
    reader.SetImageIO("MetaImageIO" if path.suffix == ".mhd" else "NiftiImageIO")
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return reader


def _check_mhd(path: Path) -> None:
    """Check the header of a MetaImage against its file of voxels."""
    with path.open("rb") as file:
        text = file.read(_MHD_BYTES + 1)
    if len(text) > _MHD_BYTES:
        raise DecodeError(f"{path} is no MetaImage header: it is too long")
    fields: dict[str, str] = {}
    for line in text.decode("ascii").splitlines():
        name, equals, value = line.partition("=")
        if not equals or name.strip() in fields:
            raise DecodeError(f"{path} is no MetaImage header: line {line[:40]!r}")
        fields[name.strip()] = value.strip()
    shape = [int(count) for count in fields["DimSize"].split()]
    if len(shape) != 3 or fields["NDims"] != "3" or min(shape) < 1:
        raise DecodeError(f"{path} is no volume: DimSize is {fields['DimSize']}")
    plain = {
        "ElementNumberOfChannels": "1",
        "HeaderSize": "0",
        "CompressedData": "False",
        "BinaryData": "True",
    }
    for name, value in plain.items():
        if fields.get(name, value).lower() != value.lower():
            raise DecodeError(f"{path} has {name} = {fields[name]}, not {value}; it is not read")
    name = fields["ElementDataFile"]
    if PurePath(name).name != name or name in ("LIST", "LOCAL", "Local", "local") or "%" in name:
        raise DecodeError(f"{path} names no file beside it: ElementDataFile is {name[:80]!r}")
    voxels = path.parent / name
    expected = int(np.prod(shape, dtype=object)) * _MET_BYTES[fields["ElementType"]]
    found = voxels.stat().st_size
    if expected > MAX_VOLUME_BYTES or expected != found:
        raise DecodeError(f"{path} tells of {expected} bytes of voxels, but {name} has {found}")


def _check_nifti(path: Path, voxels: bool) -> None:
    """Check the header of a NIfTI file (either byte order, version 1) against its size.

    A packed file that ends early is unpacked to find that out: ITK shows what is missing as zeros.
    """
    packed = path.name.endswith(".gz")
    with gzip.open(path) if packed else path.open("rb") as file:
        header = file.read(_NIFTI_HEADER_BYTES)
    if len(header) < _NIFTI_HEADER_BYTES:
        raise DecodeError(f"{path} is truncated")
    order = next((sign for sign in "<>" if struct.unpack(f"{sign}i", header[:4])[0] == 348), "")
    if not order or header[344:348] != b"n+1\x00":
        raise DecodeError(f"{path} is no NIfTI-1 file")
    rank, *sizes = struct.unpack(f"{order}8h", header[40:56])
    if not 1 <= rank <= 7 or min(sizes[:rank]) < 1:
        raise DecodeError(f"{path} has the shape {sizes[: max(rank, 0)]}")
    bits = struct.unpack(f"{order}h", header[72:74])[0]
    offset = struct.unpack(f"{order}f", header[108:112])[0]
    if bits not in (8, 16, 32, 64):
        raise DecodeError(f"{path} has {bits} bits per voxel; grey images of 8, 16, 32 or 64 are read")
    if not _NIFTI_HEADER_BYTES <= offset <= MAX_VOLUME_BYTES:
        raise DecodeError(f"{path} has its voxels at byte {offset:g}")
    # spacing (pixdim), then the two ways to tell the grid's place (quaternion and offset, affine rows)
    place = (*struct.unpack(f"{order}7f", header[80:108]), *struct.unpack(f"{order}18f", header[256:328]))
    if not np.isfinite(place).all():
        raise DecodeError(f"{path} has a grid that is nowhere")
    expected = int(np.prod(sizes[:rank], dtype=object)) * bits // 8
    found = path.stat().st_size * (DEFLATE_RATIO if packed else 1)
    if expected > MAX_VOLUME_BYTES or int(offset) + expected > found:
        raise DecodeError(f"{path} tells of {expected} bytes of voxels, more than it has")
    if packed and voxels:
        with gzip.open(path) as file:
            left = int(offset) + expected
            while left > 0 and (chunk := file.read(min(left, _CHUNK))):
                left -= len(chunk)
        if left > 0:
            raise DecodeError(f"{path} is truncated: {left} of {expected} bytes of voxels are missing")


@contextmanager
def _one_error(path: Path) -> Iterator[None]:
    """Turn what SimpleITK or a damaged header raises into one error that names the file."""
    try:
        yield
    except RadtransferError:
        raise
    except KeyError as error:
        raise DecodeError(f"{path} has no or an unknown {error.args[0]}") from error
    except (RuntimeError, ValueError, OSError, EOFError, zlib.error, struct.error, MemoryError) as error:
        told = str(error).strip().splitlines() or [type(error).__name__]
        raise DecodeError(f"{path} does not decode: {told[-1]}") from error
