"""Many steps of training in one call, where a step costs less than the call itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import keras

ManySteps = Callable[[NDArray[Any], NDArray[Any], NDArray[Any] | None, int], NDArray[np.float32]]

STEPS_A_CALL = 64
"""So many batches of pooled features are held in memory."""


def many_steps(model: keras.Model) -> ManySteps | None:
    """What :meth:`keras.Model.train_on_batch` does, step after step inside one call.

    A head is so small that Keras's and Python's share of a step is as large as its arithmetic. The
    steps are those of Keras itself: weights and losses are the same to the last bit.

    Parameters
    ----------
    model : keras.Model
        Compiled.

    Returns
    -------
    callable or None
        Inputs, targets, sample weights or None, and images a step to the losses of the steps; the
        last step takes what is left. None where the backend is not TensorFlow, or several devices
        share each batch.
    """
    from keras import backend

    if backend.backend() != "tensorflow" or model.distribute_strategy.num_replicas_in_sync > 1:
        return None
    import tensorflow as tf

    def run(size: Any, *data: Any) -> Any:
        n_images = tf.shape(data[0])[0]

        def step(start: Any, losses: Any) -> tuple[Any, Any]:
            model.reset_metrics()
            loss = model.train_step(tuple(part[start : start + size] for part in data))["loss"]
            return start + size, losses.write(start // size, loss)

        losses = tf.TensorArray(tf.float32, size=(n_images + size - 1) // size)
        # one step begins where the one before it has ended
        _, losses = tf.while_loop(
            lambda start, _: start < n_images, step, (tf.constant(0), losses), parallel_iterations=1
        )
        return losses.stack()

    compiled = tf.function(run, reduce_retracing=True, autograph=False)

    def call(
        inputs: NDArray[Any], targets: NDArray[Any], weights: NDArray[Any] | None, size: int
    ) -> NDArray[np.float32]:
        data = (inputs, targets) if weights is None else (inputs, targets, weights)
        losses: NDArray[np.float32] = compiled(tf.constant(size), *map(tf.constant, data)).numpy()
        return losses

    return call
