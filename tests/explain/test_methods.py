"""Methods on networks: against their definitions, on every backbone, on planted lesions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from radtransfer.data.phantoms import PhantomSpec, generate
from radtransfer.data.store import CuratedDataset, curate
from radtransfer.errors import InputError, RunError
from radtransfer.explain.boxes import box_mask, expert_boxes
from radtransfer.explain.cases import CaseRules
from radtransfer.explain.compute import _uncovered, explain_task
from radtransfer.explain.maps import attention, centre_map, energy_inside, points_inside
from radtransfer.explain.methods import METHODS, attribute, reference, superpixels
from radtransfer.explain.networks import ExplainedNetwork
from radtransfer.explain.records import RANDOMISED, ExplanationRecord, Settings
from radtransfer.models.heads import build_head
from radtransfer.models.registry import BACKBONES, Backbone
from radtransfer.training.fit import train_networks
from radtransfer.training.networks import checked_network
from radtransfer.training.runs import RunRecord, RunStore, TrainingOptions

keras = pytest.importorskip("keras")

DEEPEST = {"densenet121", "efficientnet_lite0", "inceptionv3", "resnet50"}
SETTINGS = Settings(seed=1, steps=4, positions=3, segments=9, samples=20)


def network_of(entry: Backbone, base: keras.Model, n_classes: int = 2) -> ExplainedNetwork:
    head = build_head(base.output.shape[-1], units=(8,), n_classes=n_classes)
    pooled = keras.layers.GlobalAveragePooling2D()(base.output)
    return ExplainedNetwork(entry, keras.Model(base.input, head(pooled)))


def images_of(side: int, n: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, side, side), dtype=np.uint8)


@pytest.fixture(scope="module")
def small() -> ExplainedNetwork:
    """The custom network with random weights, three classes."""
    keras.utils.set_random_seed(0)
    entry = BACKBONES["custom_cnn"]
    return network_of(entry, entry.build(32), n_classes=3)


@pytest.fixture
def uncompiled(name: str) -> Iterator[None]:
    """For the deepest networks: TensorFlow takes far longer to trace them than to run them a few times."""
    if keras.backend.backend() != "tensorflow" or name not in DEEPEST:
        yield
        return
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_every_method_runs_on_every_backbone(name: str) -> None:
    keras.utils.set_random_seed(0)
    entry = BACKBONES[name]
    side = max(32, entry.min_size)
    network = network_of(entry, entry.build(side))
    images = images_of(side, n=1)
    settings = SETTINGS.model_copy(update={"steps": 2})
    for method in METHODS:
        maps = attribute(method, network, images, 1, settings)
        assert maps.shape == images.shape
        assert maps.dtype == np.float32
        assert np.isfinite(maps).all()
        assert np.ptp(maps) > 0 or method == "grad_cam"  # which is nothing where all speaks against
    cells = network.halves[0].output_shape[1]
    assert cells >= 7 or network.cam_layer == entry.blocks[0][1]


@pytest.mark.parametrize("noise", [0, 20, 128])
def test_superpixels_are_about_as_many_as_wanted_in_noise_too(noise: int) -> None:
    rng = np.random.default_rng(0)
    smooth = np.add.outer(np.linspace(0, 120, 64), np.linspace(0, 120, 64))
    image = np.clip(smooth + rng.normal(0, noise, (64, 64)), 0, 255).astype(np.uint8)
    found = superpixels(image, SETTINGS.model_copy(update={"segments": 36}))
    assert 24 <= len(np.unique(found)) <= 40
    assert found.max() + 1 == len(np.unique(found))


def test_log_odds_are_those_of_the_probabilities(small: ExplainedNetwork) -> None:
    images = images_of(32, n=3)
    p = np.asarray(small.probabilities(small.backbone.preprocess(images)), dtype=np.float64)
    for output in range(3):
        expected = np.log(p[:, output] / (1 - p[:, output]))
        np.testing.assert_allclose(small.log_odds(images, output), expected, atol=1e-4)


def test_an_unknown_method_is_refused(small: ExplainedNetwork) -> None:
    with pytest.raises(InputError, match="did you mean 'grad_cam'"):
        attribute("gradcam", small, images_of(32), 0, SETTINGS)


def test_gradients_are_those_of_differences(small: ExplainedNetwork) -> None:
    inputs = small.backbone.preprocess(images_of(32, n=1))
    found = small.gradient(inputs, 2)
    direction = np.random.default_rng(3).normal(size=inputs.shape).astype(np.float32)
    step = 1e-3 * direction
    ahead, behind = (np.asarray(small.model(inputs + sign * step))[0, 2] for sign in (1, -1))
    assert float((found * direction).sum()) == pytest.approx((ahead - behind) / 2e-3, rel=0.02)


class _Linear:
    """Stands for a network whose log-odds are a weighted sum of the pixels."""

    def __init__(self, weights: np.ndarray) -> None:
        self.weights = weights
        self.backbone = SimpleNamespace(preprocess=lambda images: np.asarray(images, np.float32)[..., None])

    def log_odds(self, images: np.ndarray, output: int) -> np.ndarray:
        return (images * self.weights).sum(axis=(1, 2))

    def gradient(self, inputs: np.ndarray, output: int) -> np.ndarray:
        return np.broadcast_to(self.weights[..., None], inputs.shape).astype(np.float32)


@pytest.fixture
def linear() -> tuple[Any, np.ndarray, np.ndarray]:
    """A linear network, an image, and what each pixel contributes against the reference."""
    rng = np.random.default_rng(5)
    weights, image = rng.normal(size=(24, 24)), images_of(24, n=1)
    gone = reference(image, SETTINGS).astype(float)
    return _Linear(weights), image, (weights * (image - gone))[0]


def test_integrated_gradients_of_a_linear_network(linear: tuple[Any, np.ndarray, np.ndarray]) -> None:
    network, image, contribution = linear
    found = attribute("integrated_gradients", network, image, 0, SETTINGS)[0]
    np.testing.assert_allclose(found, contribution, rtol=1e-4, atol=1e-3)


def test_integrated_gradients_add_up_to_the_change_of_the_log_odds() -> None:
    """Completeness (Sundararajan et al., proposition 1), on a network without kinks."""
    keras.utils.set_random_seed(2)
    base_in = keras.Input((16, 16, 1))
    x = keras.layers.Conv2D(6, 3, activation="tanh", name="last")(base_in)
    base = keras.Model(base_in, x)
    entry = replace(BACKBONES["custom_cnn"], build=lambda size: base, blocks=(("only", "last"),))
    network = network_of(entry, base)
    images = images_of(16)
    found = attribute("integrated_gradients", network, images, 1, SETTINGS.model_copy(update={"steps": 100}))
    change = network.log_odds(images, 1) - network.log_odds(reference(images, SETTINGS), 1)
    np.testing.assert_allclose(found.sum(axis=(1, 2)), change, rtol=0.01, atol=1e-3)


def test_occlusion_of_a_linear_network(linear: tuple[Any, np.ndarray, np.ndarray]) -> None:
    network, image, contribution = linear
    settings = SETTINGS.model_copy(update={"window": 1 / 3, "positions": 3})  # windows side by side
    found = attribute("occlusion", network, image, 0, settings)[0]
    windows = contribution.reshape(3, 8, 3, 8).sum(axis=(1, 3))
    np.testing.assert_allclose(found, np.kron(windows, np.ones((8, 8))), rtol=1e-3, atol=0.05)


def test_lime_of_a_linear_network_is_what_its_superpixels_contribute(
    linear: tuple[Any, np.ndarray, np.ndarray],
) -> None:
    network, image, contribution = linear
    settings = SETTINGS.model_copy(update={"samples": 200, "ridge": 0.0})
    found = attribute("lime", network, image, 0, settings)[0]
    segments = superpixels(image[0], settings)
    totals = np.bincount(segments.ravel(), contribution.ravel())
    np.testing.assert_allclose(found, totals[segments], rtol=1e-3, atol=0.05)


def test_lime_with_a_penalty_is_weighted_ridge_regression(small: ExplainedNetwork) -> None:
    """The closed form, written out; masks are drawn as the method says it draws them."""
    image = images_of(32, n=1)
    segments = superpixels(image[0], SETTINGS)
    masks = np.random.default_rng([SETTINGS.seed, 0]).random((20, segments.max() + 1)) < 0.5
    masks[0] = True
    gone = reference(image, SETTINGS)
    y = small.log_odds(np.where(masks[:, segments], image, gone), 1)
    z = masks.astype(float)
    cosine = z.sum(1) / (np.linalg.norm(z, axis=1) * np.sqrt(z.shape[1]))
    w = np.exp(-(((1 - cosine) / 0.25) ** 2))
    centred, target = z - np.average(z, axis=0, weights=w), y - np.average(y, weights=w)
    gram = centred.T @ (w[:, None] * centred) + np.eye(z.shape[1])
    expected = np.linalg.solve(gram, centred.T @ (w * target))
    found = attribute("lime", small, image, 1, SETTINGS)[0]
    np.testing.assert_allclose(found, expected[segments], rtol=1e-3, atol=1e-5)


def test_grad_cam_by_hand() -> None:
    """Two feature maps, of which the head likes one: the map is that one, enlarged."""
    inputs = keras.Input((14, 14, 1))
    split = keras.layers.Conv2D(2, 1, strides=2, use_bias=False, activation="relu", name="last")
    base = keras.Model(inputs, split(inputs))
    split.set_weights([np.array([1.0, -1.0], dtype=np.float32).reshape(1, 1, 1, 2)])
    entry = replace(BACKBONES["custom_cnn"], build=lambda size: base, blocks=(("only", "last"),))
    head = build_head(2, units=())
    head.layers[-1].set_weights(
        [np.array([[0.0, 1.0], [1.0, 0.0]], dtype=np.float32), np.zeros(2, np.float32)]
    )
    pooled = keras.layers.GlobalAveragePooling2D()(base.output)
    network = ExplainedNetwork(entry, keras.Model(base.input, head(pooled)))
    image = np.zeros((1, 14, 14), dtype=np.uint8)
    image[0, 4, 10] = 255  # bright is +1, everything else is -1
    cam = attribute("grad_cam", network, image, 1, SETTINGS)[0]
    assert network.cam_layer == "last"
    assert np.unravel_index(cam.argmax(), cam.shape) in {(4, 10), (4, 11), (5, 10), (5, 11)}
    assert cam[:3].max() == cam[8:].max() == cam[:, :8].max() == 0
    against = attribute("grad_cam", network, image, 0, SETTINGS)[0]
    assert against[4:6, 10:12].max() < against[12, 2]


@pytest.mark.parametrize("what", RANDOMISED)
def test_weights_are_randomised_from_the_output_downwards(small: ExplainedNetwork, what: Any) -> None:
    images = images_of(32)
    before = [layer.get_weights() for layer in small.probabilities.layers]
    fresh = small.randomised(what, seed=4)
    changed = {
        old.name
        for old, new in zip(small.probabilities.layers, fresh.probabilities.layers, strict=True)
        if any((a != b).any() for a, b in zip(old.get_weights(), new.get_weights(), strict=True))
    }
    convolutions = {name for name in changed if name.endswith("_conv")}
    assert "head" in changed
    assert (
        convolutions
        == {
            "head": set(),
            "block": {"block6_conv"},
            "all": {f"block{number}_conv" for number in range(1, 7)},
        }[what]
    )
    assert not np.allclose(fresh.log_odds(images, 1), small.log_odds(images, 1))
    again = small.randomised(what, seed=4)
    np.testing.assert_array_equal(again.log_odds(images, 1), fresh.log_odds(images, 1))
    for old, layer in zip(before, small.probabilities.layers, strict=True):
        for one, other in zip(old, layer.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)


def test_cells_are_put_in_their_order() -> None:
    ground, put = np.zeros((4, 4), np.uint8), np.full((4, 4), 9, np.uint8)
    shares, series = _uncovered(ground, put, np.array([3, 0, 1, 2]), cells=2)
    assert shares.tolist() == [0, 0.5, 1]
    assert series[0].max() == 0
    assert series[1].tolist() == [[9, 9, 0, 0], [9, 9, 0, 0], [0, 0, 9, 9], [0, 0, 9, 9]]
    assert series[2].min() == 9


# --- planted lesions, and the whole way on a run ------------------------------------------------


def brains(images: np.ndarray) -> np.ndarray:
    """Heads without their bone, which is as bright as blood, and without what lies outside it."""
    found = np.empty_like(images)
    for image, brain in zip(images, found, strict=True):
        parts, _ = ndimage.label(image > 245)
        skull = parts == np.bincount(parts[parts > 0]).argmax()
        inside = ndimage.binary_fill_holes(skull) & ~ndimage.binary_dilation(skull, iterations=2)
        brain[:] = np.where(inside, image, np.median(image[inside]))
    return found


def blood_detector(side: int) -> ExplainedNetwork:
    """Network by hand: what is brighter than brain speaks for a haemorrhage, what is darker a little against.

    Trained on as few phantoms as a test can draw, a network learns them by heart, and nobody knows where an
    explanation of it should point.
    """
    inputs = keras.Input((side, side, 1))
    near = keras.layers.Conv2D(2, 3, padding="same", activation="relu", name="near")
    wide = keras.layers.Conv2D(2, 5, strides=2, padding="same", activation="relu", name="wide")
    base = keras.Model(inputs, wide(near(inputs)))
    sign, each = np.array([1, -1], np.float32), np.eye(2, dtype=np.float32)
    near.set_weights([np.full((3, 3, 1, 1), 1 / 9, np.float32) * sign, np.array([-0.2, -0.4], np.float32)])
    wide.set_weights([np.full((5, 5, 1, 1), 1 / 25, np.float32) * each, np.zeros(2, np.float32)])
    head = build_head(2, units=())
    weights = np.array([[-2000, 2000], [10, -10]], np.float32)
    head.layers[-1].set_weights([weights, np.array([0.05, -0.05], np.float32)])
    pooled = keras.layers.GlobalAveragePooling2D()(base.output)
    blocks = (("near", "near"), ("wide", "wide"))
    entry = replace(BACKBONES["custom_cnn"], build=lambda size: base, blocks=blocks)
    return ExplainedNetwork(entry, keras.Model(base.input, head(pooled)))


def test_planted_lesions_are_hit() -> None:
    """A network whose decisions rest on the lesions alone is asked where they are."""
    side = 64
    spec = PhantomSpec(modality="ct", n_patients=30, images_per_patient=1, size=side, auc=1 - 1e-6, seed=11)
    phantoms = generate(spec)
    labels = phantoms.cohort.labels("haemorrhage").to_numpy(int)
    network, images = blood_detector(side), brains(phantoms.images)
    called = network.log_odds(images, 1) > 0
    assert not called[labels == 0].any()
    assert called[labels == 1].mean() >= 0.9
    assert not (network.log_odds(brains(generate(spec, lesions=False).images), 1) > 0).any()

    rows = np.flatnonzero(called)
    boxes = pd.DataFrame(phantoms.opacity_boxes / side, columns=["x", "y", "width", "height"])
    masks = [box_mask(boxes.iloc[[row]], side) for row in rows]

    def energy(maps: Iterable[np.ndarray]) -> float:
        return float(np.mean([energy_inside(w, mask) for w, mask in zip(maps, masks, strict=True)]))

    blind = max(energy([w] * len(rows)) for w in (np.ones((side, side)), centre_map(side)))
    settings = Settings(seed=0, samples=150, segments=80, window=0.25, positions=8)
    for method in METHODS:
        for_it, against = (
            [attention(found) for found in attribute(method, network, images[rows], output, settings)]
            for output in (1, 0)
        )
        hits = np.mean([points_inside(w, mask) for w, mask in zip(for_it, masks, strict=True)])
        assert energy(for_it) > 3 * blind, method
        assert hits >= 0.9, method
        assert energy(against) < energy(for_it) / 4, method


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[CuratedDataset, list[RunRecord]]]:
    folder = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RADTRANSFER_WORK", str(folder))
        patch.setenv("RADTRANSFER_OFFLINE", "1")
        patch.delenv("RADTRANSFER_MIRROR", raising=False)
        spec = PhantomSpec(modality="ct", n_patients=60, images_per_patient=1.2, size=48, auc=0.99, seed=3)
        dataset = curate("phantom_ct", task="haemorrhage", image_size=32, n_folds=2, seed=1, phantom=spec)
        options = TrainingOptions(input_size=32, views=0, epochs=1, head_units=(8,), seed=5)
        records = train_networks(
            dataset, task="haemorrhage", networks=["custom_cnn_scratch"], options=options, n_folds_used=1
        )
        yield dataset, records


def test_a_network_must_score_as_its_run_did(
    run: tuple[CuratedDataset, list[RunRecord]], tmp_path: Path
) -> None:
    dataset, (record,) = run
    checked_network(record, dataset)
    predictions = record.predictions()
    predictions["score"] = (predictions["score"] + 2e-4).clip(0, 1)
    weights = record.arrays()
    off = RunStore(tmp_path / "off").write(record.spec, predictions, arrays=weights)
    with pytest.raises(RunError, match="otherwise than recorded"):
        checked_network(off, dataset)
    none = RunStore(tmp_path / "none").write(record.spec, record.predictions())
    with pytest.raises(RunError, match="kept no weights"):
        checked_network(none, dataset)
    altered = dict(weights) | {"0000": weights["0000"] * 1.5}
    other = RunStore(tmp_path / "altered").write(record.spec, record.predictions(), arrays=altered)
    with pytest.raises(RunError, match="otherwise than recorded"):
        checked_network(other, dataset)


def test_explanations_are_computed_once(
    run: tuple[CuratedDataset, list[RunRecord]], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, records = run
    rules = CaseRules(boxed=3, checked=2, random=1, chosen=1, seed=1)

    def explain() -> Any:
        return explain_task(
            records,
            dataset,
            network="custom_cnn_scratch",
            compared=[],
            boxes_from=None,
            rules=rules,
            n_resamples=100,
            level=0.95,
            progress=lambda line: None,
        )

    first = explain()
    monkeypatch.setattr("radtransfer.explain.compute._explain", None)  # nothing is computed any more
    second = explain()
    for one, other in (
        (first.located, second.located),
        (first.checked, second.checked),
        (first.curves, second.curves),
    ):
        assert one.table.equals(other.table)
    # methods that draw nothing give the same map again; what LIME draws is another sample
    again = first.checked.table["rank"].xs("again", axis=1, level=1)
    np.testing.assert_allclose(again.drop(columns="lime"), 1)
    assert (again["lime"] < 1).all()
    boxes = expert_boxes(dataset)
    assert set(first.located.table.index) <= set(boxes["image_id"])

    (explained,) = first.records["custom_cnn_scratch"]
    damaged = explained.folder / "maps.npz"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(RunError, match="damaged"):
        ExplanationRecord.open(explained.folder)


def test_a_network_that_was_not_trained_is_named(run: tuple[CuratedDataset, list[RunRecord]]) -> None:
    dataset, records = run
    with pytest.raises(InputError, match="did you mean 'custom_cnn_scratch'"):
        explain_task(
            records,
            dataset,
            network="custom_cnn",
            compared=[],
            boxes_from=None,
            rules=CaseRules(boxed=3, checked=2, random=1, chosen=1, seed=1),
            n_resamples=100,
            level=0.95,
        )
