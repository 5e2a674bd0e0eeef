"""What the search for duplicates keeps of each image.

Made while images are decoded, by processes that should start fast: the search itself, and the libraries
that it needs, are in :mod:`radtransfer.data.duplicates`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from radtransfer.data.images import Grey

THUMBNAIL: Final = 12
"""Side of the thumbnails that are indexed, pixels."""

RESEMBLING: Final = 48
"""Side of the thumbnails that candidates are sieved with, pixels."""

COMPARED: Final = 128
"""Side at which images are compared in full, pixels."""


@dataclass(frozen=True)
class Fingerprints:
    """What the search for duplicates keeps of each image, see :func:`fingerprint`.

    Attributes
    ----------
    digests : ndarray of bytes, shape (n,)
    small : ndarray of uint8, shape (n, 12, 12)
    large : ndarray of uint8, shape (n, 48, 48)
        Or anything that is indexed like it, one image at a time: it may lie on disk.
    """

    digests: NDArray[np.bytes_]
    small: NDArray[np.uint8]
    large: NDArray[np.uint8]


def fingerprint(image: Grey, *, size: int = COMPARED) -> tuple[bytes, Grey, Grey]:
    """Digest and thumbnails of an image.

    Parameters
    ----------
    image : ndarray of uint8, shape (height, width)
    size : int
        Side to which images of the collection are reduced first: 128 pixels or the shortest side of any.

    Returns
    -------
    digest : bytes
        Of shape and pixels, 16 bytes; none of a constant image, which is like nothing.
    small, large : ndarray of uint8, shapes (12, 12) and (48, 48)
        Thumbnails to index and to sieve with.
    """
    reduced = reduce_to(image, size)
    digest = b""
    if reduced.min() < reduced.max():
        shape = np.array(image.shape).tobytes()
        hashed = hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=15, key=shape).digest()
        digest = hashed + b"."  # numpy takes zeros off the end
    return digest, reduce_to(reduced, THUMBNAIL), reduce_to(reduced, RESEMBLING)


def reduce_to(image: Grey, size: int) -> Grey:
    """Image in ``size`` x ``size`` pixels, each the mean of what it covers."""
    return np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA), dtype=np.uint8)
