"""Gradients of a network's output: the one place where Keras's backends differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from radtransfer.errors import InputError

if TYPE_CHECKING:
    import keras

Gradient = Callable[[NDArray[np.float32], int], NDArray[np.float32]]


def gradient_of(model: keras.Model) -> Gradient:
    """Gradient of one output with respect to the input, image by image.

    Parameters
    ----------
    model : keras.Model
        One array in, shape (n, outputs) out. Runs in inference mode.

    Returns
    -------
    callable
        Inputs (n, ...) float32 and the number of the output to gradients, shape of the inputs.

    Raises
    ------
    InputError
        If Keras runs on a backend other than TensorFlow and JAX.
    """
    import keras

    backend = keras.backend.backend()
    if backend not in GRADIENTS:
        raise InputError(f"no gradients on Keras's backend {backend!r}", hint="use tensorflow or jax")
    return GRADIENTS[backend](model)


# images do not see each other in inference, so that the gradient of their sum is that of each


def _tensorflow(model: keras.Model) -> Gradient:
    import tensorflow as tf

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def compiled(x: Any, output: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(tf.gather(model(x, training=False), output, axis=1))
        return tape.gradient(total, x)

    return lambda inputs, output: np.asarray(compiled(tf.constant(inputs), tf.constant(output)))


def _jax(model: keras.Model) -> Gradient:
    import jax

    trained = [variable.value for variable in model.trainable_variables]
    fixed = [variable.value for variable in model.non_trainable_variables]

    def total(x: Any, output: int) -> Any:
        outputs, _ = model.stateless_call(trained, fixed, x, training=False)
        return outputs[:, output].sum()

    compiled = jax.jit(jax.grad(total))
    return lambda inputs, output: np.asarray(compiled(inputs, output))


GRADIENTS = {"tensorflow": _tensorflow, "jax": _jax}
"""How each backend of Keras takes a gradient."""
