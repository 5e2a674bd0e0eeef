"""Cutting a backbone in two: a frozen prefix that is computed once, and the rest that is trained."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from radtransfer.errors import RunError

if TYPE_CHECKING:
    import keras


def prefix(base: keras.Model, layers: Iterable[str]) -> keras.Model:
    """Part of a network from its input to the named layers.

    Parameters
    ----------
    base : keras.Model
    layers : iterable of str
        Names of layers.

    Returns
    -------
    keras.Model
        Its output is a dictionary by layer name. Shares its layers with ``base``.
    """
    from keras import Model

    return Model(base.input, {name: base.get_layer(name).output for name in layers})


def suffix(
    base: keras.Model, cut: str | None, *, train_normalisation: bool, momentum: float | None = None
) -> keras.Model:
    """Part of a network after the layer ``cut``, to be trained.

    Frozen layers are left out rather than switched off: what is not in the model cannot be
    updated.

    Parameters
    ----------
    base : keras.Model
        Every path from input to output must lead through ``cut``.
    cut : str or None
        Last frozen layer; None keeps the whole network.
    train_normalisation : bool
        Whether batch normalisation learns too. True from scratch. False in fine-tuning: batches of
        a small medical dataset are poor estimates of its statistics, and re-estimating them undoes
        what was transferred (Keras guide *Transfer learning and fine-tuning*).
    momentum : float, optional
        Of the running statistics of batch normalisation that learns; as it was built by default.

    Returns
    -------
    keras.Model
        Shares its layers with ``base``.
    """
    from keras import Model
    from keras.layers import BatchNormalization

    part = base if cut is None else Model(base.get_layer(cut).output, base.output)
    # `part.trainable = True` alone does nothing where it is already True and single layers are not
    for layer in part.layers:
        normalises = isinstance(layer, BatchNormalization)
        layer.trainable = train_normalisation or not normalises
        if normalises and train_normalisation and momentum is not None:
            layer.momentum = momentum
    return part


def assert_trainable(model: keras.Model, expected: int) -> None:
    """Refuse a model that would train more or fewer variables than meant.

    Parameters
    ----------
    model : keras.Model
    expected : int
        Number of trainable variables (arrays, not scalars).

    Raises
    ------
    RunError
        If they differ.
    """
    found = len(model.trainable_variables)
    if found != expected:
        raise RunError(f"{model.name} would train {found} variables where {expected} were meant")
