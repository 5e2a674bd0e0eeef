"""AlexNet, the first of its kind: what a network of that age is worth beside later ones.

The version on one graphics card (Krizhevsky, *One weird trick for parallelizing convolutional
neural networks*, arXiv:1404.5997, 2014), which needs neither grouped convolutions nor
normalisation across channels. No weights of it can be had here: it is trained from scratch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

CONVOLUTIONS = (
    # filters, kernel, stride, padding, pooled
    (64, 11, 4, 2, True),
    (192, 5, 1, 2, True),
    (384, 3, 1, 1, False),
    (256, 3, 1, 1, False),
    (256, 3, 1, 1, True),
)


def build(input_size: int) -> keras.Model:
    """AlexNet without its classifier, randomly initialised.

    Parameters
    ----------
    input_size : int
        Side of the input, px; at least 63.

    Returns
    -------
    keras.Model
        (n, input_size, input_size, 3) float32 to (n, 6, 6, 256) at 224 px. 2.47 million weights;
        61.1 million with its three dense layers and 1,000 classes.
    """
    from keras import Input, Model, layers

    x = inputs = Input((input_size, input_size, 3))
    for number, (filters, kernel, stride, padding, pooled) in enumerate(CONVOLUTIONS, start=1):
        x = layers.ZeroPadding2D(padding, name=f"block{number}_padding")(x)
        x = layers.Conv2D(
            filters,
            kernel,
            strides=stride,
            activation="relu",
            kernel_initializer="he_normal",
            name=f"block{number}_conv",
        )(x)
        if pooled:
            x = layers.MaxPooling2D(3, strides=2, name=f"block{number}_pool")(x)
    return Model(inputs, x, name="alexnet")
