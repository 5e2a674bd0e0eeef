"""Cases that belong together."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def cluster_index(cluster: ArrayLike, n: int) -> tuple[NDArray[np.int64], int]:
    """Number of each case's cluster, and how many clusters there are.

    Parameters
    ----------
    cluster : array_like, shape (n,)
        Label of the cluster (patient) of each case, of any type.
    n : int
        Number of cases expected.

    Returns
    -------
    membership : ndarray of int, shape (n,)
        From 0 to ``n_clusters - 1``.
    n_clusters : int

    Raises
    ------
    ValueError
        If the length differs, a label is missing, or there is only one cluster.
    """
    labels = np.asarray(cluster, dtype=object)
    if labels.shape != (n,):
        raise ValueError(f"cluster has shape {labels.shape}, not ({n},)")
    if any(value is None or value != value for value in labels):
        raise ValueError("a cluster label is missing")
    names, membership = np.unique(labels.astype(str), return_inverse=True)
    if len(names) < 2:
        raise ValueError("all cases are in one cluster: no variance between clusters can be estimated")
    return membership.astype(np.int64), len(names)
