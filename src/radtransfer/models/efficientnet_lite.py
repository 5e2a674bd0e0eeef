"""EfficientNet-Lite0: the one pretrained backbone of the study that Keras does not have.

EfficientNet-B0 without squeeze-and-excitation, with ReLU6 for swish, and with a stem and head
that do not scale with width, so that it quantises well (Liu, *Higher accuracy on vision models
with EfficientNet-Lite*, TensorFlow blog, 2020; the parent is Tan and Le, *EfficientNet*, ICML
2019, table 1). The weights were trained with TensorFlow's ``SAME`` padding, which at stride 2
pads after rather than around: symmetric padding shifts every feature by half a pixel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

STAGES = (
    # expansion, channels, repeats, stride, kernel
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
N_BLOCKS = sum(repeats for _, _, repeats, _, _ in STAGES)


def build(input_size: int) -> keras.Model:
    """EfficientNet-Lite0 without its classifier, randomly initialised.

    Parameters
    ----------
    input_size : int
        Side of the input, px.

    Returns
    -------
    keras.Model
        (n, input_size, input_size, 3) float32 to (n, ceil(input_size / 32), ., 1280).
        3.4 million weights; 0.78 GFLOP at 224 px.
    """
    from keras import Input, Model

    inputs = Input((input_size, input_size, 3))
    x = _convolution(inputs, 32, 3, stride=2, name="stem")
    number, channels = 0, 32
    for expansion, filters, repeats, stride, kernel in STAGES:
        for repeat in range(repeats):
            number += 1
            x = _block(
                x, channels, filters, expansion, kernel, stride if repeat == 0 else 1, name=f"block{number}"
            )
            channels = filters
    x = _convolution(x, 1280, 1, name="head")
    return Model(inputs, x, name="efficientnet_lite0")


def _convolution(
    x: keras.KerasTensor, filters: int, kernel: int, *, stride: int = 1, activation: bool = True, name: str
) -> keras.KerasTensor:
    from keras import layers

    x = layers.Conv2D(
        filters,
        kernel,
        strides=stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}_bn")(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x) if activation else x


def _block(
    x: keras.KerasTensor, channels: int, filters: int, expansion: int, kernel: int, stride: int, *, name: str
) -> keras.KerasTensor:
    """Inverted residual: expand, filter each channel, project (Sandler et al., CVPR 2018)."""
    from keras import layers

    shortcut = x
    if expansion != 1:
        x = _convolution(x, channels * expansion, 1, name=f"{name}_expand")
    x = layers.DepthwiseConv2D(
        kernel,
        strides=stride,
        padding="same",
        use_bias=False,
        depthwise_initializer="he_normal",
        name=f"{name}_depthwise_conv",
    )(x)
    x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}_depthwise_bn")(x)
    x = layers.ReLU(6.0, name=f"{name}_depthwise_relu")(x)
    x = _convolution(x, filters, 1, activation=False, name=f"{name}_project")
    if stride == 1 and channels == filters:
        x = layers.Add(name=f"{name}_add")([shortcut, x])
    # every block ends in a layer of this name, with or without a shortcut: a place to cut
    return layers.Identity(name=f"{name}_out")(x)
