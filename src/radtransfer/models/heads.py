"""The classifier put on every backbone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import keras

SCALING = "head_scaling"
LEAST_MEAN_SQUARE = 1e-8
"""Deep networks of random weights give all but zero; dividing by that would overflow float32."""


def build_head(
    n_features: int,
    *,
    units: Sequence[int] = (256, 64),
    dropout: float = 0.5,
    n_classes: int = 2,
) -> keras.Model:
    """Dense ReLU layers with dropout, and softmax, on pooled features.

    The first layer divides all features by one number, 1 until :func:`set_scaling` sets it.

    Parameters
    ----------
    n_features : int
        Channels of the backbone's output after global average pooling.
    units : sequence of int
        Widths of the dense layers.
    dropout : float
        Rate after each dense layer.
    n_classes : int

    Returns
    -------
    keras.Model
        (n, n_features) to (n, n_classes) probabilities.
    """
    from keras import Input, Model, layers

    inputs = Input((n_features,))
    # batch normalisation that is never trained and has no weights of its own is exactly a fixed
    # scale that travels with the model
    x = layers.BatchNormalization(center=False, scale=False, epsilon=0, trainable=False, name=SCALING)(inputs)
    for number, width in enumerate(units, start=1):
        x = layers.Dense(
            width, activation="relu", kernel_initializer="he_normal", name=f"head_dense{number}"
        )(x)
        x = layers.Dropout(dropout, name=f"head_dropout{number}")(x)
    x = layers.Dense(n_classes, activation="softmax", name="head_softmax")(x)
    return Model(inputs, x, name="head")


def set_scaling(head: keras.Model, features: NDArray[np.float32]) -> None:
    """Make a head divide by the root mean square of the pooled features of the training part.

    Backbones differ in the scale of their features (VGG16's are three times MobileNet's), and
    Adam's steps do not: with one scale, one learning rate fits them all. It is one number, and
    nothing is subtracted: centring, channel by channel or all alike, raised the validation loss of
    MobileNet's head.

    Parameters
    ----------
    head : keras.Model
        From :func:`build_head`.
    features : array, shape (n, n_features)
    """
    mean_square = float(np.square(features, dtype=np.float64).mean())
    if mean_square < LEAST_MEAN_SQUARE:
        return
    n_features = features.shape[-1]
    head.get_layer(SCALING).set_weights([np.zeros(n_features), np.full(n_features, mean_square)])
