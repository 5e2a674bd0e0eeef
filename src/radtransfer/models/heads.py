"""The classifier put on every backbone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import keras

SCALING = "head_scaling"


def build_head(
    n_features: int,
    *,
    units: Sequence[int] = (256, 64),
    dropout: float = 0.5,
    n_classes: int = 2,
    standardise: bool = True,
) -> keras.Model:
    """Dense ReLU layers with dropout, and softmax, on pooled features.

    Parameters
    ----------
    n_features : int
        Channels of the backbone's output after global average pooling.
    units : sequence of int
        Widths of the dense layers.
    dropout : float
        Rate after each dense layer.
    n_classes : int
    standardise : bool
        Put a fixed shift and scale before the first layer, to be set from the training part with
        :func:`set_scaling`. Pretrained backbones differ in the scale of their features by two
        orders of magnitude; one learning rate fits them all only after this.

    Returns
    -------
    keras.Model
        (n, n_features) to (n, n_classes) probabilities.
    """
    from keras import Input, Model, layers

    x = inputs = Input((n_features,))
    if standardise:
        # batch normalisation that is never trained and has no weights of its own is exactly a
        # fixed (x - mean) / sd that travels with the model
        x = layers.BatchNormalization(center=False, scale=False, epsilon=1e-6, trainable=False, name=SCALING)(
            x
        )
    for number, width in enumerate(units, start=1):
        x = layers.Dense(
            width, activation="relu", kernel_initializer="he_normal", name=f"head_dense{number}"
        )(x)
        x = layers.Dropout(dropout, name=f"head_dropout{number}")(x)
    x = layers.Dense(n_classes, activation="softmax", name="head_softmax")(x)
    return Model(inputs, x, name="head")


def set_scaling(head: keras.Model, features: NDArray[np.float32]) -> None:
    """Set a head's fixed shift and scale from pooled features of the training part.

    Parameters
    ----------
    head : keras.Model
        From :func:`build_head`, with ``standardise``.
    features : array, shape (n, n_features)
    """
    variance = features.var(axis=0, dtype=np.float64)
    # a channel that is silent in training must not be amplified without bound elsewhere
    variance = np.maximum(variance, 1e-3 * variance.mean())
    head.get_layer(SCALING).set_weights([features.mean(axis=0, dtype=np.float64), variance])
