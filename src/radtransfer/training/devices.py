"""Devices that networks are trained on: what they are called, and several that share each batch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from radtransfer.errors import InputError

if TYPE_CHECKING:
    import keras


@contextmanager
def replicated(n: int) -> Iterator[None]:
    """Let the networks that are built in the block train on several devices at once.

    Parameters
    ----------
    n : int
        Devices that share each batch; with 1 nothing is done.

    Raises
    ------
    InputError
        If there are fewer, or the backend has no way to share a batch.
    """
    if n == 1:
        yield
        return
    import tensorflow as tf

    with tf.distribute.MirroredStrategy(_devices(n)).scope():
        yield


def train_step(
    model: keras.Model,
    inputs: NDArray[np.float32],
    targets: NDArray[np.float32],
    weights: NDArray[np.float32] | None,
) -> float:
    """One step of training, on all devices for which the model was built.

    A batch is divided evenly. What is missing to that is filled up with images of weight 0, so that
    gradient and loss are those of one device; but for batch normalisation, whose statistics are each device's
    own, and dropout.

    Parameters
    ----------
    model : keras.Model
        Compiled.
    inputs : ndarray, shape (n, ...)
    targets : ndarray, shape (n, classes)
    weights : ndarray, shape (n,), optional
        Of the images.

    Returns
    -------
    float
        Loss before the step.
    """
    strategy = getattr(model, "distribute_strategy", None)
    if strategy is None or strategy.num_replicas_in_sync == 1:
        return float(model.train_on_batch(inputs, targets, weights))
    n, n_replicas = len(inputs), strategy.num_replicas_in_sync
    size = -(-n // n_replicas)
    rows = np.arange(size * n_replicas)
    # each device divides by the number of its images, fillers included
    filled = np.where(rows < n, len(rows) / n, 0).astype(np.float32)
    if weights is not None:
        filled *= weights[rows % n]
    batch = tuple(
        strategy.experimental_distribute_values_from_function(
            lambda replica, part=part: part[replica.replica_id_in_sync_group]
        )
        for part in (_shards(inputs[rows % n], size), _shards(targets[rows % n], size), _shards(filled, size))
    )
    # as `train_on_batch`, which takes no values that differ by device
    model.make_train_function()
    model.reset_metrics()
    return float(model.train_function(iter([batch]))["loss"])


def _shards(values: NDArray[Any], size: int) -> Sequence[Any]:
    from keras import ops

    return [ops.convert_to_tensor(values[start : start + size]) for start in range(0, len(values), size)]


def _devices(n: int) -> list[str]:
    """Names of so many GPUs, or of CPUs where there is no GPU and somebody has divided the CPU."""
    import keras

    if keras.backend.backend() != "tensorflow":
        raise InputError(
            f"{n} replicas on Keras's backend {keras.backend.backend()!r}", hint="KERAS_BACKEND=tensorflow"
        )
    import tensorflow as tf

    found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if len(found) < n:
        raise InputError(
            f"{n} replicas wanted where TensorFlow sees {len(found)} {found[0].device_type}",
            hint="lower replicas to the number of GPUs",
        )
    return [device.name for device in found[:n]]


def describe_device(*, cores: int, n_replicas: int) -> dict[str, Any]:
    """Make results repeatable as far as the backend can, and say what they still depend on.

    Parameters
    ----------
    cores : int
        Of the processor, for this process.
    n_replicas : int
        Devices that share each batch.

    Returns
    -------
    dict
        JSON values: ``backend`` of Keras, ``device`` by name; ``threads`` and ``op_determinism`` where the
        backend tells.
    """
    import keras

    backend: str = keras.backend.backend()
    described: dict[str, Any] = {"backend": backend}
    if backend == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
        gpus = tf.config.list_physical_devices("GPU")
        name = tf.config.experimental.get_device_details(gpus[0])["device_name"] if gpus else "CPU"
        described |= {
            "device": name if n_replicas == 1 else f"{n_replicas} x {name}",
            "threads": tf.config.threading.get_intra_op_parallelism_threads()
            or int(os.environ.get("TF_NUM_INTRAOP_THREADS") or cores),
            "op_determinism": True,
        }
    elif backend == "jax":
        import jax

        device = jax.devices()[0]
        described |= {"device": "CPU" if device.platform == "cpu" else device.device_kind}
    elif backend == "torch":
        import torch

        torch.use_deterministic_algorithms(True, warn_only=True)
        described |= {
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
            "threads": torch.get_num_threads(),
        }
    return described
