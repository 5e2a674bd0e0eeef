"""Obtaining weights: the sources in order, the digest, the copy that is kept, and having none."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import yaml

from radtransfer import paths
from radtransfer.errors import WeightsError
from radtransfer.models import weights
from radtransfer.models.registry import Backbone
from radtransfer.models.weights import WeightsInfo, obtain_weights, tensor_digest

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
