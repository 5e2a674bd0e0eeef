"""Pixels: from a file to a square grey image, always by the same steps.

The steps are those that made the reduced copies of public mirrors, so that originals and copies
give the same pixels: Pillow's conversion to mode L, and its Lanczos filter to the shortest side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from radtransfer.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

Grey = NDArray[np.uint8]

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "GIF", "WEBP")
"""Formats that are tried, whatever a file's name. Pillow knows more, and has some read by other programs."""

EIGHT_BIT_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
"""Pillow modes of which mode L loses no depth; colour becomes luma (ITU-R BT.601), opacity is dropped."""


PNG_BEGIN = 8
"""Bytes of a PNG file before its first chunk."""

PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
"""Last chunk of a PNG file: its length, name and checksum."""


class DecodeError(DataError):
    """An image file that cannot be read as an image."""

    def __init__(self, message: str, *, hint: str = "restore the file, or leave it out") -> None:
        super().__init__(message, hint=hint)


def decode(path: Path) -> Grey:
    """Read an image file.

    Parameters
    ----------
    path : Path
        One of :data:`FORMATS` with 8 bits a channel.

    Returns
    -------
    ndarray of uint8, shape (height, width)

    Raises
    ------
    DecodeError
        If the file is truncated, no image, or has more than 8 bits a channel (which mode L would clip).
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.mode not in EIGHT_BIT_MODES:
                raise DecodeError(f"{path} has mode {image.mode}, not 8 bits a channel")
            if (
                image.mode == "L"
                and image.format == "PNG"
                and (grey := _grey_png(path, image.size)) is not None
            ):
                return grey
            # what is grey already would only be copied; of other formats the pixels may lie in the file
            ready = image.mode == "L" and image.format in ("PNG", "JPEG")
            return _pixels(image if ready else image.convert("L"))
    except (DecodeError, FileNotFoundError):
        raise
    except Exception as error:  # Pillow's readers raise nearly every type there is
        raise DecodeError(f"{path} does not decode: {error}") from error


def _grey_png(path: Path, size: tuple[int, int]) -> Grey | None:
    """Pixels of a PNG file of mode L, which OpenCV reads faster than Pillow.

    They are the same, and it takes no file that Pillow refuses. Of what it refuses Pillow has to say why:
    OpenCV writes on standard error, and makes room for whatever length a damaged chunk tells. So it is not
    asked about a file that is not chunk after chunk to its end.
    """
    content = np.fromfile(path, dtype=np.uint8)
    if not _is_chunks(content.data):
        return None
    found = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
    if found is None or found.dtype != np.uint8 or found.shape != size[::-1]:
        return None
    return cast("Grey", found)


def _is_chunks(png: memoryview) -> bool:
    """Whether the chunks of a PNG file have the lengths they tell, and the last one ends the file."""
    if png[-len(PNG_END) :] != PNG_END:
        return False
    start, last = PNG_BEGIN, len(png) - len(PNG_END)
    while start < last:
        # beside its data a chunk has a length, a name and a checksum of four bytes each
        start += int.from_bytes(png[start : start + 4], "big") + 12
    return start == last


def _pixels(image: Image.Image) -> Grey:
    """Pixels of an image of mode L; not copied, which would take a tenth of the time of decoding."""
    image.load()
    try:
        flat: Grey = pa.array(image).to_numpy()
    except ValueError:  # a large image lies in several pieces
        return np.asarray(image)
    return flat.reshape(image.height, image.width)


def resize_shortest(image: Grey, size: int) -> Grey:
    """Reduce an image so that its shortest side is ``size`` pixels; the aspect is kept.

    Parameters
    ----------
    image : ndarray of uint8, shape (height, width)
    size : int
        Pixels; not above the shortest side, since nothing is ever enlarged.

    Returns
    -------
    ndarray of uint8

    Raises
    ------
    DataError
        If the image is too small.
    """
    height, width = image.shape
    shortest = min(height, width)
    if shortest < size:
        raise DataError(f"an image of {width}x{height} px is not enlarged to {size} px")
    if shortest == size:
        return image
    scaled = (round(width * size / shortest), round(height * size / shortest))
    return np.asarray(Image.fromarray(image).resize(scaled, Image.Resampling.LANCZOS))


def centre_square(image: Grey) -> Grey:
    """Cut the largest central square out of an image."""
    height, width = image.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


def standardise(image: Grey, size: int) -> Grey:
    """Reduce an image to the square that the study stores.

    Parameters
    ----------
    image : ndarray of uint8, shape (height, width)
    size : int
        Side of the square, pixels.

    Returns
    -------
    ndarray of uint8, shape (size, size)
    """
    return centre_square(resize_shortest(image, size))
