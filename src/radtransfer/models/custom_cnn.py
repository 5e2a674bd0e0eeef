"""The study's own network, trained from scratch: what transfer learning is measured against."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

BLOCKS = (
    # filters, stride, pooled
    (16, 2, True),
    (48, 1, True),
    (96, 1, True),
    (192, 1, False),
    (192, 1, True),
    (256, 1, False),
)


def build(input_size: int) -> keras.Model:
    """Six-block convolutional network for one grey channel, randomly initialised.

    A block is a 3x3 convolution without bias, 2x2 max pooling where the table above says so,
    batch normalisation and ReLU. Maps shrink early and widths grow late, and pooling comes before
    normalisation (it commutes with the ReLU), because on a CPU the large maps cost more time than
    their arithmetic: two cores train about 80 images a second at 224 px.

    Parameters
    ----------
    input_size : int
        Side of the input, px; at least 32.

    Returns
    -------
    keras.Model
        (n, input_size, input_size, 1) float32 to (n, input_size / 32, ., 256).
        0.99 million weights; 0.35 GFLOP at 224 px.
    """
    from keras import Input, Model, layers

    x = inputs = Input((input_size, input_size, 1))
    for number, (filters, stride, pooled) in enumerate(BLOCKS, start=1):
        x = layers.Conv2D(
            filters,
            3,
            strides=stride,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
            name=f"block{number}_conv",
        )(x)
        if pooled:
            x = layers.MaxPooling2D(name=f"block{number}_pool")(x)
        # training is short: the default momentum of 0.99 would leave the statistics behind
        x = layers.BatchNormalization(momentum=0.9, name=f"block{number}_bn")(x)
        x = layers.ReLU(name=f"block{number}_relu")(x)
    return Model(inputs, x, name="custom_cnn")
