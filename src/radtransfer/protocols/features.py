"""Features of a frozen network, computed once a dataset and kept with the activations of training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from radtransfer.models.registry import backbone
from radtransfer.models.weights import load_backbone, obtain_weights
from radtransfer.protocols.arms import Embedding
from radtransfer.training.features import Tap, stored_activations, stored_views
from radtransfer.training.runs import TrainingOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from radtransfer.data.store import CuratedDataset


def frozen_network(
    *, name: str = "mobilenet", input_size: int, seed: int, progress: Callable[[str], None] | None = None
) -> Embedding:
    """Pooled output of a pretrained network, without its classifier.

    Parameters
    ----------
    name : str
        Key of :data:`radtransfer.models.registry.BACKBONES`.
    input_size : int
        Side of its input, px.
    seed : int
        Of random weights, where pretrained ones cannot be had; the result says so.
    progress : callable of str, optional
        Told of what takes long.

    Returns
    -------
    Embedding
    """
    network = backbone(name)
    weights = obtain_weights(network)
    tap = Tap(network.blocks[-1][1], pooled=True)

    def compute(dataset: CuratedDataset) -> NDArray[np.float32]:
        images = tuple(dataset.cohort.frame["image_id"])
        views = stored_views(dataset, images, TrainingOptions(input_size=input_size, views=0))
        base = load_backbone(network, input_size, weights, seed=seed)
        stored = stored_activations(views, network, base, (tap,), progress=progress)[tap]
        return np.array(stored.array[0])

    return Embedding(compute, weights.kind, weights.digest, input_size)
