"""What backbones are like, for those who tell of them without loading Keras.

A test holds every figure against the network as it is built.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Precision = Literal["float32", "mixed_bfloat16", "mixed_float16"]
"""Arithmetic of a backbone's layers, as Keras names it."""


@dataclass(frozen=True)
class Description:
    """A backbone in words and figures.

    Attributes
    ----------
    input : str
        What it is given of a grey image.
    n_parameters : int
        Trainable weights when all of it is trained, without a classifier.
    n_features : int
        Channels of its output.
    n_blocks : int
        Blocks between which it can be cut.
    """

    input: str
    n_parameters: int
    n_features: int
    n_blocks: int


ONE_CHANNEL = "one channel, from -1 to 1"
THREE_CHANNELS = "three equal channels, from -1 to 1"
LITE = "three equal channels, less 127 and divided by 128"
BGR = "three channels in the order blue, green, red, each less ImageNet's mean"
RGB = "three channels, each less ImageNet's mean and divided by its deviation"

DESCRIPTIONS: dict[str, Description] = {
    "custom_cnn": Description(ONE_CHANNEL, n_parameters=990_160, n_features=256, n_blocks=6),
    "vgg16": Description(BGR, n_parameters=14_714_688, n_features=512, n_blocks=5),
    "efficientnet_lite0": Description(LITE, n_parameters=3_371_008, n_features=1280, n_blocks=18),
    "mobilenet": Description(THREE_CHANNELS, n_parameters=3_206_976, n_features=1024, n_blocks=14),
    "resnet50": Description(BGR, n_parameters=23_534_592, n_features=2048, n_blocks=5),
    "inceptionv3": Description(THREE_CHANNELS, n_parameters=21_768_352, n_features=2048, n_blocks=11),
    "densenet121": Description(RGB, n_parameters=6_953_856, n_features=1024, n_blocks=5),
    "alexnet": Description(THREE_CHANNELS, n_parameters=2_469_696, n_features=256, n_blocks=5),
}
"""Descriptions by the backbone's name."""
