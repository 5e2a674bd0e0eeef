"""Backbones, cuts and heads: sizes against published ones, halves against the whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from radtransfer.errors import InputError, RunError, WeightsError
from radtransfer.models import weight_files
from radtransfer.models.descriptions import DESCRIPTIONS
from radtransfer.models.freezing import assert_trainable, prefix, suffix
from radtransfer.models.heads import SCALING, build_head, set_scaling
from radtransfer.models.registry import BACKBONES, backbone

keras = pytest.importorskip("keras")

SIZE = 32
ALEXNET_CLASSIFIER = (6 * 6 * 256 + 1) * 4096 + 4097 * 4096 + 4097 * 1000


@pytest.fixture(scope="module")
def bases() -> dict[str, keras.Model]:
    keras.utils.set_random_seed(0)
    return {name: entry.build(max(SIZE, entry.min_size)) for name, entry in BACKBONES.items()}


def inputs(base: keras.Model, n: int = 2) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, *base.input_shape[1:])).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "trainable", "features"),
    [
        ("vgg16", 14_714_688, 512),  # Simonyan and Zisserman: 138,357,544 with its three dense layers
        ("mobilenet", 3_206_976, 1024),  # Howard et al.: 4.2 million with 1,000 classes
        ("efficientnet_lite0", 4_652_008 - 1281 * 1000, 1280),  # Google: 4.652 million with them
        ("custom_cnn", 990_160, 256),
        # keras.applications: 25.6, 23.9 and 8.1 million with their dense layer, less statistics
        ("resnet50", 25_636_712 - 2049 * 1000 - 53_120, 2048),
        ("inceptionv3", 23_851_784 - 2049 * 1000 - 34_432, 2048),
        ("densenet121", 8_062_504 - 1025 * 1000 - 83_648, 1024),
        ("alexnet", 61_100_840 - ALEXNET_CLASSIFIER, 256),
    ],
)
def test_sizes_are_the_published_ones(
    bases: dict[str, keras.Model], name: str, trainable: int, features: int
) -> None:
    base = bases[name]
    assert sum(int(np.prod(weight.shape)) for weight in base.trainable_weights) == trainable
    assert base.output_shape[-1] == features
    told = DESCRIPTIONS[name]
    assert (told.n_parameters, told.n_features, told.n_blocks) == (
        trainable,
        features,
        len(BACKBONES[name].blocks),
    )


def test_every_backbone_is_described() -> None:
    assert DESCRIPTIONS.keys() == BACKBONES.keys()


def test_alexnet_has_61_million_weights_with_its_classifier() -> None:
    base = BACKBONES["alexnet"].build(224)
    assert base.output_shape == (None, 6, 6, 256)
    x = keras.layers.Flatten()(base.output)
    for width in (4096, 4096, 1000):
        x = keras.layers.Dense(width, kernel_initializer="zeros")(x)
    assert keras.Model(base.input, x).count_params() == 61_100_840


def test_custom_cnn_is_as_light_as_it_says() -> None:
    model = BACKBONES["custom_cnn"].build(224)
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    flop = sum(2 * np.prod(layer.kernel.shape) * np.prod(layer.output.shape[1:3]) for layer in convolutions)
    assert flop == pytest.approx(0.35e9, rel=0.02)
    assert model.output_shape == (None, 7, 7, 256)


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_halves_make_the_whole_at_every_cut(bases: dict[str, keras.Model], name: str) -> None:
    base, entry = bases[name], BACKBONES[name]
    x = inputs(base)
    whole = np.asarray(base(x, training=False))
    # all places in one pass, as training takes them
    cuts = [layer for _, layer in entry.blocks]
    activations = prefix(base, cuts)(x, training=False)
    np.testing.assert_array_equal(activations[cuts[-1]], whole)
    for trainable in range(1, len(cuts)):
        cut = entry.cut(trainable)
        assert cut is not None
        rest = suffix(base, cut, train_normalisation=False)(activations[cut], training=False)
        np.testing.assert_allclose(rest, whole, rtol=1e-5, atol=1e-6)
    assert entry.cut(len(cuts)) is None


@pytest.mark.parametrize(
    ("name", "blocks", "frozen", "scratch"),
    [
        # kernels and biases; from scratch also two variables for each normalisation
        ("vgg16", 1, 6, 26),
        ("mobilenet", 2, 4, 27 + 2 * 27),
        ("efficientnet_lite0", 2, 4, 49 + 2 * 49),
        ("custom_cnn", 1, 1, 6 + 2 * 6),
        # of one channel each in Inception's normalisation only the shift is learned
        ("resnet50", 1, 2 * 10, 2 * 53 + 2 * 53),
        ("inceptionv3", 2, 2 * 9, 94 + 94),
        ("densenet121", 1, 2 * 16, 120 + 2 * 121),
        ("alexnet", 1, 2, 10),
    ],
)
def test_numbers_of_trained_variables(
    bases: dict[str, keras.Model], name: str, blocks: int, frozen: int, scratch: int
) -> None:
    base = bases[name]
    part = suffix(base, BACKBONES[name].cut(blocks), train_normalisation=False)
    assert len(part.trainable_variables) == frozen
    assert_trainable(part, frozen)
    with pytest.raises(RunError, match=f"train {frozen} variables where {frozen + 1} were meant"):
        assert_trainable(part, frozen + 1)
    # the trap: layers that an earlier cut froze must be trained again
    assert len(suffix(base, None, train_normalisation=True).trainable_variables) == scratch


def test_frozen_normalisation_does_not_follow_the_batch(bases: dict[str, keras.Model]) -> None:
    part = suffix(bases["mobilenet"], BACKBONES["mobilenet"].cut(2), train_normalisation=False)
    x = inputs(part, n=4) * 100
    np.testing.assert_allclose(part(x, training=True), part(x, training=False), rtol=1e-5, atol=1e-6)
    scratch = suffix(bases["custom_cnn"], None, train_normalisation=True)
    x = inputs(scratch, n=4) * 100
    assert np.abs(np.asarray(scratch(x, training=True)) - np.asarray(scratch(x, training=False))).max() > 0.1


@pytest.mark.parametrize("name", ["resnet50", "inceptionv3", "densenet121"])
def test_files_are_those_that_keras_asks_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What keras.applications would download is what the registry names."""
    from keras.src.utils import file_utils

    asked: list[tuple[str, str, str]] = []

    def get_file(fname: str, origin: str, *, file_hash: str, **_: object) -> str:
        asked.append((fname, origin, file_hash))
        raise ConnectionError

    monkeypatch.setattr(file_utils, "get_file", get_file)
    build = {
        "resnet50": keras.applications.ResNet50,
        "inceptionv3": keras.applications.InceptionV3,
        "densenet121": keras.applications.DenseNet121,
    }[name]
    with pytest.raises(ConnectionError):
        build(weights="imagenet", include_top=False, input_shape=(75, 75, 3))
    file = BACKBONES[name].keras_file
    assert file is not None
    assert asked == [(file.name, f"{file.url}/{file.name}", file.md5)]


def test_preprocessing_is_what_the_weights_were_trained_with() -> None:
    grey = np.array([[[0, 127, 255]]], dtype=np.uint8)
    expected = {
        "vgg16": [[-103.939, -116.779, -123.68], [23.061, 10.221, 3.32], [151.061, 138.221, 131.32]],
        "mobilenet": [[-1] * 3, [127 / 127.5 - 1] * 3, [1] * 3],
        "efficientnet_lite0": [[-127 / 128] * 3, [0] * 3, [1] * 3],
        "custom_cnn": [[-1], [127 / 127.5 - 1], [1]],
        "alexnet": [[-1] * 3, [127 / 127.5 - 1] * 3, [1] * 3],
    }
    colour = np.repeat(grey[..., np.newaxis], 3, axis=-1).astype(np.float32)
    modules = {"resnet50": "resnet50", "inceptionv3": "inception_v3", "densenet121": "densenet"}
    for name, module in modules.items():
        expected[name] = getattr(keras.applications, module).preprocess_input(colour.copy())[0, 0]
    assert expected.keys() == BACKBONES.keys()
    for name, values in expected.items():
        found = BACKBONES[name].preprocess(grey)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found[0, 0], values, rtol=1e-5, atol=1e-6, err_msg=name)


def test_head_is_two_dense_layers_and_softmax() -> None:
    head = build_head(5, units=(4, 3), dropout=0.5)
    assert [weight.shape for weight in head.trainable_weights] == [(5, 4), (4,), (4, 3), (3,), (3, 2), (2,)]
    probabilities = head.predict_on_batch(np.ones((7, 5), np.float32))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize(("size", "divisor"), [(1e3, 1e3), (1.0, 1.0), (1e-21, 1.0)])
def test_scaling_divides_by_the_root_mean_square_unless_all_is_silent(size: float, divisor: float) -> None:
    head = build_head(2, units=(4,))
    features = np.array([[1, -1], [-1, 1]], dtype=np.float32) * np.float32(size)
    set_scaling(head, features)
    scaled = np.asarray(head.get_layer(SCALING)(features, training=True))
    np.testing.assert_allclose(scaled, features / divisor, rtol=1e-6)
    assert np.isfinite(head.predict_on_batch(features)).all()


def test_an_unknown_backbone_is_refused() -> None:
    with pytest.raises(InputError, match="did you mean 'vgg16'"):
        backbone("vgg19")


def test_mobilenet_constants_come_in_order(tmp_path: Path) -> None:
    graph_pb2 = pytest.importorskip("tensorflow.core.framework.graph_pb2")
    from tensorflow import make_tensor_proto

    graph = graph_pb2.GraphDef()

    def constant(name: str, value: float, shape: tuple[int, ...]) -> None:
        node = graph.node.add(name=name, op="Const")
        node.attr["value"].tensor.CopyFrom(make_tensor_proto(np.full(shape, value, dtype=np.float32)))

    layers = ["Conv2d_0"]
    for number in range(1, 14):
        layers += [f"Conv2d_{number}_depthwise", f"Conv2d_{number}_pointwise"]
    for number, layer in reversed(list(enumerate(layers))):
        kernel = "depthwise_weights" if layer.endswith("depthwise") else "weights"
        constant(f"MobilenetV1/{layer}/{kernel}", number, (1, 1, 2, 2))
        for part, value in {"gamma": 0.1, "beta": 0.2, "moving_mean": 0.3, "moving_variance": 0.4}.items():
            constant(f"MobilenetV1/{layer}/BatchNorm/{part}", number + value, (2,))
    graph.node.add(name="MobilenetV1/Conv2d_0/other", op="Relu6")
    path = tmp_path / "w.pb"
    path.write_bytes(graph.SerializeToString())

    found = weight_files.mobilenet_from_graphdef(path)
    values = [float(array.ravel()[0]) for array in found]
    expected = [number + part for number in range(27) for part in (0, 0.1, 0.2, 0.3, 0.4)]
    np.testing.assert_allclose(values, expected, rtol=1e-6)

    path.write_bytes(b"\xff" * 20)
    with pytest.raises(WeightsError, match="not a TensorFlow graph"):
        weight_files.read_graphdef(path)
