"""Pretrained weights: found, checked tensor by tensor, kept; or a plain statement that there are none."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import socket
import urllib.request
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from radtransfer import paths
from radtransfer.atomic import atomic_file, write_json, write_text
from radtransfer.data.fetch import OFFLINE, fetch_entry
from radtransfer.data.manifest import WeightsEntry, entries_of, load_manifest
from radtransfer.errors import DataError, WeightsError
from radtransfer.models.descriptions import Precision
from radtransfer.models.registry import Backbone, KerasFile, backbone
from radtransfer.models.weight_files import READERS, Tensors

if TYPE_CHECKING:
    import keras

KERAS_APPLICATIONS = {"vgg16": "VGG16", "mobilenet": "MobileNet"}
"""Backbones that Keras knows how to download itself."""

KERAS_TIMEOUT_S = 10

TENSORS = "tensors.npz"


@dataclass(frozen=True)
class WeightsInfo:
    """What a backbone starts from.

    Attributes
    ----------
    kind : {"imagenet", "medical", "random", "none"}
        ``medical`` weights are those of an earlier run of the study on another dataset. ``random``
        means pretrained weights were wanted and could not be had: such a run is never called
        transfer learning. ``none`` is for networks that have no pretrained weights.
    source : str
        Where they were found, in words; empty without.
    digest : str
        :func:`tensor_digest`, empty without.
    path : Path or None
        Checked copy in the work folder.
    reasons : tuple of str
        Why each source that was tried before did not serve.
    """

    kind: Literal["imagenet", "medical", "random", "none"]
    source: str = ""
    digest: str = ""
    path: Path | None = None
    reasons: tuple[str, ...] = ()


def tensor_digest(tensors: Sequence[NDArray[Any]]) -> str:
    """SHA-256 over tensors in order, as float32 little endian in C order.

    Independent of the file format they came in, unlike a file's checksum.

    Parameters
    ----------
    tensors : sequence of array
        Usually ``model.get_weights()``.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(np.ascontiguousarray(tensor, dtype="<f4").tobytes())
    return digest.hexdigest()


def obtain_weights(name: str | Backbone) -> WeightsInfo:
    """Pretrained weights of a backbone: from the work folder, else from Keras's host, else a mirror.

    ``RADTRANSFER_OFFLINE=1`` keeps it from asking anybody outside this machine.

    Parameters
    ----------
    name : str or Backbone

    Returns
    -------
    WeightsInfo
        Of kind ``random``, with the reasons, when no source can be reached.

    Raises
    ------
    WeightsError
        If a file that was found does not hold the tensors that the manifest promises.
    """
    network = backbone(name) if isinstance(name, str) else name
    if network.weights_id is None and network.keras_file is None:
        return WeightsInfo("none")
    folder = paths.weights_dir() / (network.weights_id or network.name)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        if network.keras_file is not None:
            return _obtain_keras_file(network, network.keras_file, folder)
        return _obtain(network, load_manifest().weights[folder.name], folder)


def _obtain(network: Backbone, entry: WeightsEntry, folder: Path) -> WeightsInfo:
    stored, origin = folder / TENSORS, folder / "source.txt"
    if stored.is_file():
        _check(_read_stored(stored), entry, stored)
        return WeightsInfo("imagenet", origin.read_text(encoding="utf-8").strip(), entry.digest, stored)
    reasons: list[str] = []
    for find in (_from_keras, _from_manifest):
        try:
            tensors, source = find(network, entry, folder)
        except _NotThereError as reason:
            reasons.append(str(reason))
            continue
        write_text(origin, source + "\n")
        store_tensors(stored, tensors)
        return WeightsInfo("imagenet", source, entry.digest, stored, tuple(reasons))
    return WeightsInfo("random", reasons=tuple(reasons))


def _obtain_keras_file(network: Backbone, file: KerasFile, folder: Path) -> WeightsInfo:
    """Weights in Keras's own file: placed in the work folder or Keras's cache, or downloaded.

    The file is checked by the checksum that Keras states, read once, and its tensors are kept with
    their digest.
    """
    stored, told = folder / TENSORS, folder / "source.json"
    if not told.is_file():
        try:
            path, source = _find_keras_file(file, folder)
        except _NotThereError as reason:
            return WeightsInfo("random", reasons=(str(reason),))
        model = network.build(max(network.min_size, 75))
        try:
            model.load_weights(path)
        except (OSError, ValueError, KeyError) as error:
            raise WeightsError(f"{path} does not hold the weights of {network.name}: {error}") from error
        tensors = model.get_weights()
        store_tensors(stored, tensors)
        write_json(told, {"source": source, "md5": file.md5, "digest": tensor_digest(tensors)})
    origin = json.loads(told.read_text(encoding="utf-8"))
    if tensor_digest(_read_stored(stored)) != origin["digest"]:
        raise WeightsError(f"{stored} was altered", hint=f"delete {folder} and run again")
    return WeightsInfo("imagenet", origin["source"], origin["digest"], stored)


def _find_keras_file(file: KerasFile, folder: Path) -> tuple[Path, str]:
    home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    for path in (folder / file.name, home / "models" / file.name):
        if path.is_file():
            if _md5(path) != file.md5:
                raise WeightsError(
                    f"{path} is not Keras's file: its MD5 is not {file.md5}", hint="delete it and run again"
                )
            return path, "Keras's own file"
    place = f"place {file.name} in {folder}"
    if os.environ.get(OFFLINE, "") not in ("", "0"):
        raise _NotThereError(f"Keras: not asked, {OFFLINE} is set; {place}")
    path = folder / file.name
    try:
        with (
            _timeout(KERAS_TIMEOUT_S),
            urllib.request.urlopen(f"{file.url}/{file.name}") as answer,
            atomic_file(path) as partial,
        ):
            with partial.open("wb") as stream:
                shutil.copyfileobj(answer, stream)
            if _md5(partial) != file.md5:
                raise OSError(f"what came has not the MD5 {file.md5}")
    except OSError as error:
        raise _NotThereError(f"Keras: {error}; {place}") from error
    return path, "Keras's own host"


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def store_tensors(path: Path, tensors: Sequence[NDArray[Any]]) -> None:
    """Write tensors to an ``.npz`` file, in order and atomically."""
    with atomic_file(path) as partial:
        np.savez(partial, allow_pickle=False, **{f"{i:04d}": tensor for i, tensor in enumerate(tensors)})


def load_backbone(
    name: str | Backbone,
    input_size: int,
    info: WeightsInfo,
    *,
    seed: int,
    precision: Precision = "float32",
) -> keras.Model:
    """Backbone with the weights that ``info`` describes.

    Parameters
    ----------
    name : str or Backbone
    input_size : int
        Side of the input, px.
    info : WeightsInfo
    seed : int
        Seed of the random weights of a backbone that has no others. Sets Keras's global seed.
    precision : {"float32", "mixed_bfloat16", "mixed_float16"}
        Arithmetic of its layers, whose weights are float32 either way.

    Returns
    -------
    keras.Model

    Raises
    ------
    WeightsError
        If the stored file was altered since it was checked.
    """
    import keras

    network = backbone(name) if isinstance(name, str) else name
    keras.utils.set_random_seed(seed)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        model = network.build(input_size)
    finally:
        keras.config.set_dtype_policy(before)
    if info.path is not None:
        tensors = _read_stored(info.path)
        if tensor_digest(tensors) != info.digest:
            raise WeightsError(f"{info.path} was altered", hint="delete it and run again")
        model.set_weights(tensors)
    return model


class _NotThereError(Exception):
    """A source that does not serve, and why."""


def _read_stored(path: Path) -> Tensors:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return [stored[name] for name in sorted(stored.files)]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{path} is damaged: {error}", hint="delete it and run again") from error


def _check(tensors: Sequence[NDArray[Any]], entry: WeightsEntry, path: Path) -> None:
    got = tensor_digest(tensors)
    if got != entry.digest:
        raise WeightsError(
            f"{path} does not hold the weights {entry.id!r}: "
            f"expected tensor digest {entry.digest}, got {got}",
            hint="delete it and run again",
        )


def _from_keras(network: Backbone, entry: WeightsEntry, _: Path) -> tuple[Tensors, str]:
    """Weights that Keras downloads from its own host, or has downloaded before."""
    if network.name not in KERAS_APPLICATIONS:
        raise _NotThereError(f"Keras: has no weights of {network.name}")
    if os.environ.get(OFFLINE, "") not in ("", "0"):
        raise _NotThereError(f"Keras: not asked, {OFFLINE} is set")
    from keras import applications

    build = getattr(applications, KERAS_APPLICATIONS[network.name])
    try:
        with _timeout(KERAS_TIMEOUT_S), redirect_stdout(io.StringIO()):  # no progress bar in notebooks
            model = build(weights="imagenet", include_top=False, input_shape=(224, 224, 3))
    except Exception as error:  # Keras wraps every failure of its download in a bare Exception
        raise _NotThereError(f"Keras: {error}") from error
    tensors = model.get_weights()
    if tensor_digest(tensors) != entry.digest:
        raise _NotThereError("Keras: has another version of these weights than the manifest")
    return tensors, "Keras's own host"


def _from_manifest(network: Backbone, entry: WeightsEntry, folder: Path) -> tuple[Tensors, str]:
    """Weights in another program's file, from one of the manifest's sources."""
    (file,) = entries_of(entry.files)
    target = folder / "source"
    try:
        fetched = fetch_entry(entry.files, entry.sources, target)
    except DataError as error:
        raise _NotThereError(error.message) from error
    path = target / file.path
    tensors = READERS[network.name, path.suffix](path)
    _check(tensors, entry, path)
    shutil.rmtree(target)  # what is kept are the tensors
    return tensors, fetched.source


@contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
