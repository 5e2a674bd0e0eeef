"""Obtaining weights: the sources in order, the digest, the copy that is kept, and having none."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from radtransfer import paths
from radtransfer.errors import WeightsError
from radtransfer.models import weights
from radtransfer.models.registry import BACKBONES, Backbone, KerasFile
from radtransfer.models.weights import WeightsInfo, load_backbone, obtain_weights, tensor_digest

TENSORS = [np.arange(6, dtype=np.float32).reshape(2, 3), np.array([0.5], dtype=np.float32)]
DIGEST = hashlib.sha256(np.array([0, 1, 2, 3, 4, 5, 0.5], dtype="<f4").tobytes()).hexdigest()

TOY = Backbone(
    name="toy",
    build=lambda size: None,  # type: ignore[arg-type, return-value]
    preprocess=lambda images: images.astype(np.float32),
    blocks=(("block1", "layer"),),
    min_size=1,
    weights_id="toy",
)


@pytest.fixture
def mirror(tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Study whose manifest has one entry of weights, in a local mirror."""
    folder = tmp_path / "mirror" / "weights"
    folder.mkdir(parents=True)
    file = folder / "toy.raw"
    file.write_bytes(b"".join(tensor.tobytes() for tensor in TENSORS))
    monkeypatch.setenv("RADTRANSFER_ROOT", str(tmp_path))
    monkeypatch.setenv("RADTRANSFER_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setenv("RADTRANSFER_OFFLINE", "1")
    monkeypatch.setitem(
        weights.READERS,
        ("toy", ".raw"),
        lambda path: [np.fromfile(path, "<f4")[:6].reshape(2, 3), np.fromfile(path, "<f4")[6:]],
    )
    write_manifest(tmp_path, file)
    return file


def write_manifest(root: Path, file: Path, digest: str = DIGEST) -> None:
    content = file.read_bytes()
    entry = {
        "backbone": "toy",
        "licence": "MIT",
        "citation": "made here",
        "digest": digest,
        "files": [{"path": "toy.raw", "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}],
        "sources": [{"kind": "mirror", "folder": "weights"}],
    }
    (root / "data_manifest.yaml").write_text(
        yaml.safe_dump({"version": 1, "datasets": {}, "weights": {"toy": entry}}), encoding="utf-8"
    )


def test_the_digest_is_of_values_not_of_files() -> None:
    assert tensor_digest(TENSORS) == DIGEST
    assert tensor_digest([np.asfortranarray(TENSORS[0]), TENSORS[1].astype(">f4")]) == DIGEST
    assert tensor_digest([TENSORS[0].T, TENSORS[1]]) != DIGEST


def test_found_weights_are_kept_and_the_source_is_not_needed_again(mirror: Path) -> None:
    info = obtain_weights(TOY)
    assert (info.kind, info.digest, info.source) == ("imagenet", DIGEST, "mirror weights")
    assert info.reasons == ("Keras: has no weights of toy",)
    assert info.path == paths.weights_dir() / "toy" / "tensors.npz"
    assert not (paths.weights_dir() / "toy" / "source").exists()

    mirror.unlink()
    again = obtain_weights(TOY)
    assert (again.kind, again.digest, again.path) == (info.kind, info.digest, info.path)


def test_without_a_source_they_are_random_and_the_reasons_are_said(mirror: Path) -> None:
    mirror.unlink()
    info = obtain_weights(TOY)
    assert (info.kind, info.digest, info.path) == ("random", "", None)
    assert len(info.reasons) == 2
    assert "mirror weights" in info.reasons[1]


def test_an_altered_file_in_the_mirror_is_not_used(mirror: Path) -> None:
    mirror.write_bytes(mirror.read_bytes()[:-1] + b"\x00")
    info = obtain_weights(TOY)
    assert info.kind == "random"
    assert "toy.raw" in info.reasons[1]


def test_right_bytes_with_wrong_tensors_are_refused(mirror: Path, tmp_path: Path) -> None:
    write_manifest(tmp_path, mirror, digest="0" * 64)
    with pytest.raises(WeightsError, match=f"expected tensor digest {'0' * 64}, got {DIGEST}"):
        obtain_weights(TOY)
    assert not (paths.weights_dir() / "toy" / "tensors.npz").exists()


@pytest.mark.parametrize("damage", ["altered", "truncated", "empty"])
def test_a_damaged_copy_is_refused_by_name(mirror: Path, damage: str) -> None:
    stored = obtain_weights(TOY).path
    assert stored is not None
    if damage == "altered":
        np.savez(stored, a=TENSORS[0] + 1, b=TENSORS[1])
    else:
        content = stored.read_bytes()
        stored.write_bytes(content[: len(content) // 2] if damage == "truncated" else b"")
    with pytest.raises(WeightsError, match=r"tensors\.npz .*delete it and run again"):
        obtain_weights(TOY)


def test_a_network_without_pretrained_weights_wants_none() -> None:
    assert obtain_weights("custom_cnn") == WeightsInfo("none")


KERAS_NETWORK = "toy_of_keras"


def small_network(size: int) -> Any:
    """Network with every kind of variable, so that their order matters."""
    from keras import Input, Model, layers

    inputs = Input((size, size, 3))
    x = layers.Conv2D(2, 3, name="conv")(inputs)
    x = layers.BatchNormalization(name="bn")(x)
    return Model(inputs, layers.DepthwiseConv2D(3, name="depthwise")(x))


def write_keras_file(path: Path, model: Any) -> str:
    """File of the format of Keras's hosted weights: names of layers and weights as attributes."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"2.2.4"
        for layer in model.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{variable.name}:0" for variable in layer.weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, variable in zip(names, layer.weights, strict=True):
                group.create_dataset(name, data=np.asarray(variable))
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


@pytest.fixture
def keras_file(tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Backbone, Path, Any]:
    """Network whose weights only Keras has, its file, and the model they were taken from."""
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(3)
    model = small_network(80)
    model.set_weights([np.random.default_rng(1).random(w.shape) for w in model.get_weights()])
    path = tmp_path / "host" / "toy_notop.h5"
    path.parent.mkdir()
    file = KerasFile(path.name, path.parent.as_uri(), write_keras_file(path, model))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.delenv("RADTRANSFER_OFFLINE", raising=False)
    network = Backbone(
        name=KERAS_NETWORK,
        build=small_network,
        preprocess=lambda images: images.astype(np.float32),
        blocks=(("block1", "conv"),),
        min_size=16,
        weights_id=None,
        keras_file=file,
    )
    return network, path, model


@pytest.mark.parametrize("place", ["host", "work", "keras"])
def test_keras_files_are_found_checked_and_kept(
    keras_file: tuple[Backbone, Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    network, path, model = keras_file
    if place != "host":
        folder = tmp_path / "keras" / "models" if place == "keras" else paths.weights_dir() / KERAS_NETWORK
        folder.mkdir(parents=True)
        path = path.rename(folder / path.name)
        monkeypatch.setenv("RADTRANSFER_OFFLINE", "1")
    info = obtain_weights(network)
    assert info.kind == "imagenet"
    assert info.source == ("Keras's own host" if place == "host" else "Keras's own file")
    assert info.digest == tensor_digest(model.get_weights())
    path.unlink()
    monkeypatch.setenv("RADTRANSFER_OFFLINE", "1")
    assert replace(obtain_weights(network), reasons=()) == info
    loaded = load_backbone(network, 20, info, seed=0)
    for mine, theirs in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet50", "inceptionv3", "densenet121"])
def test_networks_of_keras_take_their_files(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Made here from another build of the network, whose layers Keras may have numbered otherwise."""
    pytest.importorskip("keras")
    network = BACKBONES[name]
    assert network.keras_file is not None
    model = network.build(96)
    draw = np.random.default_rng(1)
    model.set_weights([draw.random(weight.shape, np.float32) for weight in model.get_weights()])
    folder = tmp_path / "keras" / "models"
    folder.mkdir(parents=True)
    file = replace(network.keras_file, md5=write_keras_file(folder / network.keras_file.name, model))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("RADTRANSFER_OFFLINE", "1")
    info = obtain_weights(replace(network, keras_file=file))
    assert (info.kind, info.source) == ("imagenet", "Keras's own file")
    assert info.digest == tensor_digest(model.get_weights())
    loaded = load_backbone(network, network.min_size, info, seed=0)
    assert tensor_digest(loaded.get_weights()) == info.digest


def test_a_file_that_is_not_keras_s_is_refused(
    keras_file: tuple[Backbone, Path, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, path, _ = keras_file
    path.write_bytes(path.read_bytes() + b"x")
    info = obtain_weights(network)
    assert (info.kind, info.digest) == ("random", "")
    assert "has not the MD5" in info.reasons[0]
    assert not list((paths.weights_dir() / KERAS_NETWORK).glob("*.h5"))

    path.rename(paths.weights_dir() / KERAS_NETWORK / path.name)
    with pytest.raises(WeightsError, match=r"toy_notop\.h5 is not Keras's file.*delete it"):
        obtain_weights(network)
    (paths.weights_dir() / KERAS_NETWORK / path.name).unlink()
    monkeypatch.setenv("RADTRANSFER_OFFLINE", "1")
    info = obtain_weights(network)
    assert info.kind == "random"
    assert f"place toy_notop.h5 in {paths.weights_dir() / KERAS_NETWORK}" in info.reasons[0]


def test_tensors_of_a_keras_file_that_were_altered_are_refused(
    keras_file: tuple[Backbone, Path, Any],
) -> None:
    stored = obtain_weights(keras_file[0]).path
    assert stored is not None
    np.savez(stored, a=TENSORS[0])
    with pytest.raises(WeightsError, match=r"tensors\.npz was altered .delete"):
        obtain_weights(keras_file[0])
