"""Images that show the same exposure, however they were named, in collections of any size.

One exposure on both sides of a split is a leak that no patient identifier shows: collections are
merged, files renamed, patients numbered twice. Identical pixels are found by their digests. Near
duplicates are found in three steps, none of which looks at all pairs:

1. *Candidates* lie near each other in an index. A 12 x 12 thumbnail of every image is mapped to the few
   directions in which different images of the collection differ most, in units of what
   :func:`disturbed` copies of one image differ by: Fisher's linear discriminant, with every image of
   a sample a class and its disturbed copies the members. There a k-d tree searches the
   radius within which disturbed copies of an image lie.
2. A candidate *resembles* if its 48 x 48 thumbnails correlate at the best small shift.
3. It is *confirmed* if the images themselves, at 128 px, correlate after the best small shift.
   Exposure, contrast and noise do not matter much to a correlation.

Like means the same exposure, not the same patient: neighbouring slices of a series and repeated
films of one patient stay below the threshold unless next to nothing has moved, and sharing a patient is
no leak by itself.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
import pandas as pd
from scipy.linalg import eigh
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from radtransfer.data.fingerprints import (
    COMPARED,
    RESEMBLING,
    THUMBNAIL,
    Fingerprints,
    fingerprint,
    reduce_to,
)
from radtransfer.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

    from radtransfer.data.images import Grey

RESEMBLANCE: Final = 0.85
"""Least correlation of these thumbnails, shifted by 2 px at most, of a candidate that is compared in full.

Copies of radiographs and slices that count as duplicates had .856 or more after shifts of up to 3 px, other
exposure, noise or JPEG, and of other candidates 70 to 80 % had less.
"""

MARGIN: Final = 4
"""Largest shift, of ``COMPARED`` pixels."""

CONFIRMED: Final = 0.99
"""Least correlation of a confirmed pair after the best shift."""

SHIFT: Final = 3.0
GAMMA: Final = 0.35
"""Disturbances that the index tolerates: shift, of ``COMPARED`` pixels, and logarithm of gamma."""

_DIRECTIONS: Final = 12
_SHRINKAGE: Final = 1e-3
_SAMPLE: Final = 1000
_COPIES: Final = 8
_TOLERATED: Final = 0.999
"""Share of disturbed copies within the radius of search."""

_FEW: Final = 150
"""Up to so many images every pair is a candidate: there is nothing to learn an index from."""

_CHUNK: Final = 512
_PAIRS: Final = 100_000
"""Candidates held at once."""

_AT_HAND: Final = 1024
"""Reduced images kept while candidates are compared in full, 16 kB each."""


@dataclass(frozen=True)
class Duplicates:
    """Pairs of images that show the same exposure.

    Attributes
    ----------
    pairs : ndarray of int, shape (n_pairs, 2)
        Positions, the smaller first. Of several identical images each is paired with the first only,
        and only the first with near duplicates: the connected components are the duplicate groups.
    correlation : ndarray of float64, shape (n_pairs,)
        Of the images after the best small shift, see :func:`correlation`; 1 for identical pixels.
    identical : ndarray of bool, shape (n_pairs,)
        Every pixel is the same.
    n_images : int
    n_candidates : int
        Pairs that the index gave, where it is known.
    n_compared : int
        Candidates that were compared in full, where it is known.
    """

    pairs: NDArray[np.intp]
    correlation: NDArray[np.float64]
    identical: NDArray[np.bool_]
    n_images: int
    n_candidates: int = 0
    n_compared: int = 0

    @property
    def groups(self) -> NDArray[np.intp]:
        """Number of each image's duplicate group, shape (n_images,)."""
        return components(self.n_images, self.pairs)

    def to_frame(self, **columns: ArrayLike) -> pd.DataFrame:
        """Pairs as a table.

        Parameters
        ----------
        **columns : array_like, shape (n_images,)
            What to tell of both images, for instance ``image_id`` and ``patient_id``; column
            ``<name>_1`` and ``<name>_2`` of the result.

        Returns
        -------
        DataFrame
            Also ``correlation`` and ``identical``; most alike first.
        """
        told = {
            f"{name}_{side + 1}": pd.Series(values).to_numpy()[self.pairs[:, side]]
            for name, values in columns.items()
            for side in (0, 1)
        }
        frame = pd.DataFrame({**told, "correlation": self.correlation, "identical": self.identical})
        return frame.sort_values(
            ["identical", "correlation"], ascending=False, kind="stable", ignore_index=True
        )


def find_duplicates(
    images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]],
    *,
    fingerprints: Fingerprints | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Duplicates:
    """Exact and near duplicates within one collection of images, or within and across several.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, height, width), or sequence of such arrays
        May be memory-mapped: images are read one by one. Positions are counted through several arrays, whose
        sizes may differ. Constant images are like nothing.
    fingerprints : Fingerprints, optional
        Of these images, at the size :func:`fingerprint` names; made here if not given, 3 kB an image.
    progress : callable, optional
        Called with what is being done, how much of it is done, and of how much.

    Returns
    -------
    Duplicates

    Raises
    ------
    InputError
        If an array has another dtype or shape.
    """
    stack = _Stack([images] if isinstance(images, np.ndarray) else images)
    tell = progress or (lambda *_: None)
    known = fingerprints or _fingerprints(stack, tell)
    exact = _same(known.digests)
    single = np.setdiff1d(np.flatnonzero(known.digests), exact[:, 1])
    near, alike, n_candidates, n_compared = [np.empty((0, 2), np.intp)], [np.empty(0)], 0, 0
    for found, done in _candidates(stack, single, known.small):
        pairs = single[found]
        n_candidates += len(pairs)
        pairs = pairs[_resemblance(known.large, pairs) >= RESEMBLANCE]
        n_compared += len(pairs)
        value = _correlations(stack, pairs)
        near.append(pairs[value >= CONFIRMED])
        alike.append(value[value >= CONFIRMED])
        tell("compare candidates", done, len(single))
    pairs = np.concatenate([exact, *near])
    value = np.concatenate([np.ones(len(exact)), *alike])
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    return Duplicates(
        pairs=pairs[order],
        correlation=value[order],
        identical=(np.arange(len(pairs)) < len(exact))[order],
        n_images=len(stack),
        n_candidates=n_candidates,
        n_compared=n_compared,
    )


def join_groups(
    image_ids: Sequence[str], group_ids: Sequence[str], pairs: NDArray[np.intp]
) -> NDArray[np.str_]:
    """Join duplicates, and the groups that images had before (a series), to groups.

    Parameters
    ----------
    image_ids, group_ids : sequence of str, length n
    pairs : ndarray of int, shape (n_pairs, 2)
        Positions of duplicates, see :func:`find_duplicates`.

    Returns
    -------
    ndarray of str, shape (n,)
        Name of each image's group: the smallest image identifier in it, its own if it stands alone.
    """
    ids = np.asarray(image_ids, dtype=np.str_)
    groups, group = np.unique(np.asarray(group_ids, dtype=np.str_), return_inverse=True)
    member = np.column_stack([np.arange(len(ids)), len(ids) + group])
    component = components(len(ids) + len(groups), np.concatenate([member, pairs]))
    return name_components(component[: len(ids)], ids)


def correlation(one: Grey, other: Grey, *, size: int = COMPARED) -> float:
    """Pearson correlation of two images after the best shift.

    Parameters
    ----------
    one, other : ndarray of uint8, shape (height, width)
    size : int
        Side to which both are reduced, pixels.

    Returns
    -------
    float
        Correlation of the centre of ``other`` with ``one``, at the best of (2 ``MARGIN`` + 1)^2 shifts.
    """
    return _shifted_correlation(reduce_to(one, size), reduce_to(other, size), MARGIN)


def disturbed(image: Grey, rng: np.random.Generator) -> Grey:
    """Copy as another export or another merge of collections might hold it.

    Parameters
    ----------
    image : ndarray of uint8, shape (COMPARED, COMPARED)
    rng : Generator
        Draws a shift of up to ``SHIFT`` pixels either way and a gamma of ``exp(-GAMMA)`` to ``exp(GAMMA)``.

    Returns
    -------
    ndarray of uint8, shape (COMPARED, COMPARED)
    """
    shift = np.eye(2, 3, dtype=np.float32)
    shift[:, 2] = rng.uniform(-SHIFT, SHIFT, 2)
    moved = cv2.warpAffine(image, shift, image.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
    curve = np.rint(255 * (np.arange(256) / 255) ** np.exp(rng.uniform(-GAMMA, GAMMA))).astype(np.uint8)
    return np.asarray(cv2.LUT(moved, curve), dtype=np.uint8)


def components(n: int, pairs: ArrayLike) -> NDArray[np.intp]:
    """Connected components of a graph.

    Parameters
    ----------
    n : int
        Number of nodes.
    pairs : array_like of int, shape (n_pairs, 2)
        Nodes that belong together.

    Returns
    -------
    ndarray of int, shape (n,)
        Number of each node's component.
    """
    one, other = np.asarray(pairs, dtype=np.intp).reshape(-1, 2).T
    graph = coo_array((np.ones(len(one), dtype=np.int8), (one, other)), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.intp)


def name_components(component: NDArray[np.intp], ids: NDArray[np.str_]) -> NDArray[np.str_]:
    """Name components by the smallest identifier in each, so that names do not depend on order."""
    order = np.argsort(ids, kind="stable")
    _, first = np.unique(component[order], return_index=True)
    return ids[order][first][np.searchsorted(np.unique(component), component)]


# --- parts ------------------------------------------------------------------------------------------------


class _Stack:
    """Several arrays of images, counted through."""

    def __init__(self, arrays: Sequence[NDArray[np.uint8]]) -> None:
        for array in arrays:
            if array.ndim != 3 or array.dtype != np.uint8:
                raise InputError(
                    f"images of dtype {array.dtype} and shape {array.shape}, uint8 (n, h, w) wanted"
                )
        self._arrays = arrays
        self._start = np.cumsum([0, *(len(array) for array in arrays)])
        # what is smaller than COMPARED is not enlarged, but all are compared at one size
        self.size = min((COMPARED, *(side for array in arrays for side in array.shape[1:])))

    def __len__(self) -> int:
        return int(self._start[-1])

    def __getitem__(self, position: int) -> Grey:
        which = int(np.searchsorted(self._start, position, side="right")) - 1
        image: Grey = self._arrays[which][position - self._start[which]]
        return image


def _shifted_correlation(one: Grey, other: Grey, margin: int) -> float:
    centre = other[margin:-margin, margin:-margin]
    return float(cv2.matchTemplate(one, centre, cv2.TM_CCOEFF_NORMED).max())


def _unit(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Flat thumbnails of mean 0 and norm 1: their inner product is the correlation; 0 if constant."""
    flat = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.asarray(flat / np.where(norm > 0, norm, 1), dtype=np.float32)


def _fingerprints(stack: _Stack, tell: Callable[[str, int, int], None]) -> Fingerprints:
    """Fingerprints of images, from one reading."""
    n = len(stack)
    made = Fingerprints(
        np.empty(n, dtype="S16"),
        np.empty((n, THUMBNAIL, THUMBNAIL), dtype=np.uint8),
        np.empty((n, RESEMBLING, RESEMBLING), dtype=np.uint8),
    )

    def read(start: int) -> None:
        for row in range(start, min(start + _CHUNK, n)):
            made.digests[row], made.small[row], made.large[row] = fingerprint(stack[row], size=stack.size)

    # OpenCV and hashlib release the interpreter's lock
    with ThreadPoolExecutor() as pool:
        for done, _ in enumerate(pool.map(read, range(0, n, _CHUNK)), start=1):
            tell("read images", min(done * _CHUNK, n), n)
    return made


def _same(digests: NDArray[np.bytes_]) -> NDArray[np.intp]:
    """Each repeated digest's positions, paired with the first of them."""
    _, first, which = np.unique(digests, return_index=True, return_inverse=True)
    pairs = np.column_stack([first[which], np.arange(len(digests))])[digests != b""]
    same: NDArray[np.intp] = pairs[pairs[:, 0] < pairs[:, 1]].astype(np.intp)
    return same


def _candidates(
    stack: _Stack, positions: NDArray[np.intp], thumbnails: NDArray[np.uint8]
) -> Iterator[tuple[NDArray[np.intp], int]]:
    """Pairs of rows of ``positions`` that may be near duplicates, in portions; also how far that is."""
    n = len(positions)
    if n <= _FEW:
        yield np.argwhere(np.triu(np.ones((n, n), dtype=bool), k=1)), n
        return
    place, radius = _coordinates(stack, positions, thumbnails)
    tree = KDTree(place)
    count = tree.query_ball_point(place, radius, return_length=True, workers=-1)
    portion = np.cumsum(count) // _PAIRS
    for rows in np.split(np.arange(n), np.flatnonzero(np.diff(portion)) + 1):
        near = tree.query_ball_point(place[rows], radius, workers=-1, return_sorted=False)
        one, other = np.repeat(rows, count[rows]), np.concatenate(near)
        yield np.column_stack([one, other])[one < other].astype(np.intp), int(rows[-1]) + 1


def _coordinates(
    stack: _Stack, positions: NDArray[np.intp], thumbnails: NDArray[np.uint8]
) -> tuple[NDArray[np.float64], float]:
    """Fisher's discriminant coordinates of images, and the radius that holds disturbed copies."""
    rng = np.random.default_rng(0)
    sample = positions[np.unique(np.linspace(0, len(positions) - 1, _SAMPLE).astype(np.intp))]
    copies = [
        reduce_to(disturbed(image, rng), THUMBNAIL)
        for image in (reduce_to(stack[position], stack.size) for position in sample)
        for _ in range(_COPIES)
    ]
    moved = _unit(np.stack(copies)).reshape(len(sample), _COPIES, -1)
    directions = fisher_directions(moved)[:, :_DIRECTIONS]
    portions = (positions[start : start + _CHUNK] for start in range(0, len(positions), _CHUNK))
    place = np.concatenate([_unit(thumbnails[portion]) @ directions for portion in portions])
    distance = np.linalg.norm((moved - _unit(thumbnails[sample])[:, None]) @ directions, axis=-1)
    return place, float(np.quantile(distance, _TOLERATED))


def fisher_directions(members: NDArray[np.float32]) -> NDArray[np.float64]:
    """Directions in which classes differ most, in units of the spread within a class, best first.

    Fisher's linear discriminant as of scikit-learn's ``LinearDiscriminantAnalysis(solver="eigen")``, which
    looks at classes one by one and needs a second for a thousand small ones.

    Parameters
    ----------
    members : ndarray, shape (n_classes, n_members, n_features)

    Returns
    -------
    ndarray of float64, shape (n_features, n_features)
        One direction a column.
    """
    features = members.astype(np.float64)
    spread = features - features.mean(axis=1, keepdims=True)
    within, total = (_covariance(values.reshape(-1, values.shape[-1])) for values in (spread, features))
    _, directions = eigh(total - within, within)
    return np.asarray(directions[:, ::-1])


def _covariance(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Covariance with shrinkage: copies of a sample of images do not fill all dimensions.

    As scikit-learn's ``shrunk_covariance``, whose import alone takes more than a second and 50 MB.
    """
    covariance = np.cov(values.T, bias=True)
    n = len(covariance)
    return np.asarray((1 - _SHRINKAGE) * covariance + _SHRINKAGE * (np.trace(covariance) / n) * np.eye(n))


def _resemblance(thumbnails: NDArray[np.uint8], pairs: NDArray[np.intp]) -> NDArray[np.float64]:
    """Correlation of the 48 x 48 thumbnails of each pair, shifted by 2 px at most."""
    return _of_each(pairs, lambda i, j: _shifted_correlation(thumbnails[i], thumbnails[j], 2))


def _correlations(stack: _Stack, pairs: NDArray[np.intp]) -> NDArray[np.float64]:
    """Correlation in full of each pair; pairs are ordered by their first image, which is kept at hand."""

    @lru_cache(maxsize=_AT_HAND)
    def reduced(position: int) -> Grey:
        return reduce_to(stack[position], stack.size)

    return _of_each(pairs, lambda i, j: _shifted_correlation(reduced(i), reduced(j), MARGIN))


def _of_each(pairs: NDArray[np.intp], compare: Callable[[int, int], float]) -> NDArray[np.float64]:
    """Value of each pair; OpenCV releases the interpreter's lock."""

    def compared(some: NDArray[np.intp]) -> NDArray[np.float64]:
        return np.array([compare(int(i), int(j)) for i, j in some], dtype=np.float64)

    portions = [pairs[start : start + _CHUNK] for start in range(0, len(pairs), _CHUNK)]
    if len(portions) < 2:
        return compared(pairs)
    with ThreadPoolExecutor() as pool:
        return np.concatenate(list(pool.map(compared, portions)))
