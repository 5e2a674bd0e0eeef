"""The classifier put on every backbone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras


def build_head(
    n_features: int,
    *,
    units: Sequence[int] = (256, 64),
    dropout: float = 0.5,
    n_classes: int = 2,
) -> keras.Model:
    """Dense ReLU layers with dropout, and softmax, on pooled features.

    Features enter as they are: no scale is learned or set. Adam's steps do not follow the scale of
    the features, so one learning rate does not suit every backbone alike; VGG16's features are
    about three times as large as MobileNet's.

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

    x = inputs = Input((n_features,))
    for number, width in enumerate(units, start=1):
        x = layers.Dense(
            width, activation="relu", kernel_initializer="he_normal", name=f"head_dense{number}"
        )(x)
        x = layers.Dropout(dropout, name=f"head_dropout{number}")(x)
    x = layers.Dense(n_classes, activation="softmax", name="head_softmax")(x)
    return Model(inputs, x, name="head")
