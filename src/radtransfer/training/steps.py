"""Many steps of training in one call, where a step costs less than the call itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import keras
    from numpy.typing import NDArray

STEPS_A_CALL = 64
"""So many batches of pooled features are held in memory."""


@dataclass(frozen=True)
class ManySteps:
    """Steps of a model, one after the other inside one call; see :func:`many_steps`."""

    _train: Callable[..., Any]
    _predict: Callable[..., Any]

    def train(
        self, inputs: NDArray[Any], targets: NDArray[Any], weights: NDArray[Any] | None, size: int
    ) -> NDArray[np.float32]:
        """What :meth:`keras.Model.train_on_batch` does.

        Parameters
        ----------
        inputs, targets : array, shape (n, ...)
        weights : array of float, shape (n,), or None
            Of the images.
        size : int
            Images a step; the last step takes what is left.

        Returns
        -------
        array of float32, shape (steps,)
            Losses.
        """
        data = (inputs, targets) if weights is None else (inputs, targets, weights)
        losses: NDArray[np.float32] = self._train(np.array(size, dtype=np.int32), *data).numpy()
        return losses

    def predict(self, batches: NDArray[Any]) -> NDArray[np.float32]:
        """What :meth:`keras.Model.predict_on_batch` does.

        Parameters
        ----------
        batches : array, shape (steps, size, ...)

        Returns
        -------
        array of float32, shape (steps, size, classes)
        """
        scores: NDArray[np.float32] = self._predict(batches).numpy()
        return scores


def many_steps(model: keras.Model) -> ManySteps | None:
    """Steps of a model inside one call.

    A head is so small that Keras's and Python's share of a step is as large as its arithmetic. The
    steps are those of Keras itself: weights, losses and scores are the same to the last bit.

    Parameters
    ----------
    model : keras.Model
        Compiled.

    Returns
    -------
    ManySteps or None
        None where the backend is not TensorFlow, or several devices share each batch.
    """
    from keras import backend

    if backend.backend() != "tensorflow" or model.distribute_strategy.num_replicas_in_sync > 1:
        return None
    import tensorflow as tf

    def train(size: Any, *data: Any) -> Any:
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

    def predict(batches: Any) -> Any:
        return tf.map_fn(lambda batch: model(batch, training=False), batches, parallel_iterations=1)

    return ManySteps(
        *(tf.function(function, reduce_retracing=True, autograph=False) for function in (train, predict))
    )
