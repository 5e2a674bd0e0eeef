"""Backbones of the study: how each is built, what input it expects, where it can be cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from radtransfer.errors import unknown_name
from radtransfer.models import alexnet, custom_cnn, efficientnet_lite

if TYPE_CHECKING:
    import keras

Preprocess = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(frozen=True)
class KerasFile:
    """File of ImageNet weights that Keras offers for download, without classifier.

    Attributes
    ----------
    name, url : str
        Its name, and the folder on Keras's host that it lies in.
    md5 : str
        Its checksum, as ``keras.applications`` states it.
    """

    name: str
    url: str
    md5: str


@dataclass(frozen=True)
class Backbone:
    """A convolutional network without its classifier.

    Attributes
    ----------
    name : str
    build : callable
        Input side in px to a randomly initialised ``keras.Model`` of that input.
    preprocess : callable
        Grey images (n, h, w) uint8 to network input (n, h, w, channels) float32. The input a
        network was pretrained with belongs to its weights: three networks, three scalings.
    blocks : tuple of (str, str)
        Blocks from input to output, each with the name of its last layer. The network can be cut
        after any of them: nothing bypasses these layers.
    min_size : int
        Least input side, px.
    weights_id : str or None
        Entry of the manifest's ``weights`` section; None for a network that has none there.
    keras_file : KerasFile, optional
        Keras's own file, for a network whose weights no other source is known of.
    """

    name: str
    build: Callable[[int], keras.Model]
    preprocess: Preprocess
    blocks: tuple[tuple[str, str], ...]
    min_size: int
    weights_id: str | None
    keras_file: KerasFile | None = None

    def cut(self, trainable_blocks: int) -> str | None:
        """Last frozen layer when so many blocks at the output are trained; None if none is frozen."""
        frozen = len(self.blocks) - trainable_blocks
        return self.blocks[frozen - 1][1] if frozen > 0 else None


def _grey(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return images[..., np.newaxis].astype(np.float32)


def _unit(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """One channel, [-1, 1]."""
    return _grey(images) / np.float32(127.5) - np.float32(1)


def _tensorflow_mode(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Three equal channels, [-1, 1]: MobileNet, InceptionV3 (``keras.applications``, mode ``tf``)."""
    return np.repeat(_unit(images), 3, axis=-1)


def _lite(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Three equal channels, (x - 127) / 128: EfficientNet-Lite."""
    return np.repeat((_grey(images) - np.float32(127)) / np.float32(128), 3, axis=-1)


def _caffe_mode(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """ImageNet's mean colour subtracted, channels in the order blue, green, red: VGG16, ResNet50."""
    return _grey(images) - np.array([103.939, 116.779, 123.68], dtype=np.float32)


def _torch_mode(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """ImageNet's mean colour subtracted, divided by its deviation: DenseNet121."""
    mean = np.array([0.485, 0.456, 0.406], dtype=np.float32)
    deviation = np.array([0.229, 0.224, 0.225], dtype=np.float32)
    return (_grey(images) / np.float32(255) - mean) / deviation


def _vgg16(input_size: int) -> keras.Model:
    from keras.applications import VGG16

    return VGG16(include_top=False, weights=None, input_shape=(input_size, input_size, 3), name="vgg16")


def _mobilenet(input_size: int) -> keras.Model:
    from keras.applications import MobileNet

    return MobileNet(
        include_top=False, weights=None, input_shape=(input_size, input_size, 3), name="mobilenet"
    )


def _resnet50(input_size: int) -> keras.Model:
    from keras.applications import ResNet50

    return ResNet50(include_top=False, weights=None, input_shape=(input_size, input_size, 3), name="resnet50")


def _inceptionv3(input_size: int) -> keras.Model:
    from keras.applications import InceptionV3

    return InceptionV3(
        include_top=False, weights=None, input_shape=(input_size, input_size, 3), name="inceptionv3"
    )


def _densenet121(input_size: int) -> keras.Model:
    from keras.applications import DenseNet121

    return DenseNet121(
        include_top=False, weights=None, input_shape=(input_size, input_size, 3), name="densenet121"
    )


KERAS_HOST = "https://storage.googleapis.com/tensorflow/keras-applications"

BACKBONES: dict[str, Backbone] = {
    backbone.name: backbone
    for backbone in (
        Backbone(
            name="custom_cnn",
            build=custom_cnn.build,
            preprocess=_unit,
            blocks=tuple(
                (f"block{number}", f"block{number}_relu") for number in range(1, len(custom_cnn.BLOCKS) + 1)
            ),
            min_size=32,
            weights_id=None,
        ),
        Backbone(
            name="vgg16",
            build=_vgg16,
            preprocess=_caffe_mode,
            blocks=tuple((f"block{number}", f"block{number}_pool") for number in range(1, 6)),
            min_size=32,
            weights_id="vgg16",
        ),
        Backbone(
            name="efficientnet_lite0",
            build=efficientnet_lite.build,
            preprocess=_lite,
            blocks=(
                ("stem", "stem_relu"),
                *((f"block{n}", f"block{n}_out") for n in range(1, efficientnet_lite.N_BLOCKS + 1)),
                ("head", "head_relu"),
            ),
            min_size=32,
            weights_id="efficientnet_lite0",
        ),
        Backbone(
            name="mobilenet",
            build=_mobilenet,
            preprocess=_tensorflow_mode,
            blocks=(
                ("stem", "conv1_relu"),
                *((f"block{number}", f"conv_pw_{number}_relu") for number in range(1, 14)),
            ),
            min_size=32,
            weights_id="mobilenet",
        ),
        Backbone(
            name="resnet50",
            build=_resnet50,
            preprocess=_caffe_mode,
            blocks=(
                ("stem", "pool1_pool"),
                ("conv2", "conv2_block3_out"),
                ("conv3", "conv3_block4_out"),
                ("conv4", "conv4_block6_out"),
                ("conv5", "conv5_block3_out"),
            ),
            min_size=32,
            weights_id=None,
            keras_file=KerasFile(
                "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
                f"{KERAS_HOST}/resnet",
                "4d473c1dd8becc155b73f8504c6f6626",
            ),
        ),
        Backbone(
            name="inceptionv3",
            build=_inceptionv3,
            preprocess=_tensorflow_mode,
            # the stem's layers are numbered anew by Keras in every session: no place to cut there
            blocks=tuple((f"mixed{number}", f"mixed{number}") for number in range(11)),
            min_size=75,
            weights_id=None,
            keras_file=KerasFile(
                "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
                f"{KERAS_HOST}/inception_v3",
                "bcbd6486424b2319ff4ef7d526e38f63",
            ),
        ),
        Backbone(
            name="densenet121",
            build=_densenet121,
            preprocess=_torch_mode,
            blocks=(
                ("stem", "pool1"),
                ("dense1", "pool2_pool"),
                ("dense2", "pool3_pool"),
                ("dense3", "pool4_pool"),
                ("dense4", "relu"),
            ),
            min_size=32,
            weights_id=None,
            keras_file=KerasFile(
                "densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5",
                f"{KERAS_HOST}/densenet",
                "30ee3e1110167f948a6b9946edeeb738",
            ),
        ),
        Backbone(
            name="alexnet",
            build=alexnet.build,
            preprocess=_tensorflow_mode,
            blocks=tuple(
                (f"block{number}", f"block{number}_{'pool' if pooled else 'conv'}")
                for number, (*_, pooled) in enumerate(alexnet.CONVOLUTIONS, start=1)
            ),
            min_size=63,
            weights_id=None,
        ),
    )
}
"""Backbones by name."""


def backbone(name: str) -> Backbone:
    """Backbone of that name.

    Raises
    ------
    InputError
        If there is none; names the nearest.
    """
    if name not in BACKBONES:
        raise unknown_name("backbone", name, BACKBONES)
    return BACKBONES[name]
