"""Networks as explanations see them: from grey images to the log-odds of each class."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from radtransfer.explain.gradients import Gradient, gradient_of
from radtransfer.explain.records import Randomised
from radtransfer.models.freezing import prefix
from radtransfer.models.heads import SCALING
from radtransfer.models.registry import Backbone
from radtransfer.training.networks import checked_network

if TYPE_CHECKING:
    import keras

    from radtransfer.data.store import CuratedDataset
    from radtransfer.training.runs import RunRecord

BATCH = 32

CAM_CELLS = 7
"""Least side of the feature map that Grad-CAM reads, cells: that of ResNet50 at the usual 224 px."""


@dataclass(frozen=True)
class ExplainedNetwork:
    """A network whose decisions are to be explained.

    What is explained is the log-odds of a class, ``log(p / (1 - p))``: unlike the probability it does
    not flatten out where the network is sure.

    Parameters
    ----------
    backbone : Backbone
    probabilities : keras.Model
        Network input to class probabilities, as :func:`radtransfer.training.networks.trained_network` makes
        it: the backbone, global average pooling, the head.
    """

    backbone: Backbone
    probabilities: keras.Model

    @classmethod
    def of(cls, record: RunRecord, dataset: CuratedDataset) -> Self:
        """Network of a finished run; raises as :func:`checked_network`."""
        return cls(*checked_network(record, dataset))

    @property
    def side(self) -> int:
        """Side of the input, px."""
        return int(self.probabilities.input_shape[1])

    @cached_property
    def model(self) -> keras.Model:
        """Network input to the log-odds of each class, shape (n, classes)."""
        from keras import Model, layers, ops

        head = self.probabilities.layers[-1]
        last = head.layers[-1]
        n_classes = last.units
        hidden = Model(head.input, last.input)(self.probabilities.layers[-2].output)
        logits = layers.Dense(n_classes, name="logits")
        scores = logits(hidden)
        logits.set_weights(last.get_weights())
        itself = np.where(np.eye(n_classes, dtype=bool), np.float32(-1e9), np.float32(0))
        others = ops.logsumexp(ops.expand_dims(scores, 1) + itself, axis=-1)
        return Model(self.probabilities.input, scores - others)

    @property
    def cam_layer(self) -> str:
        """Last block whose output has at least :data:`CAM_CELLS` cells a side; else the first."""
        names = [layer for _, layer in self.backbone.blocks]
        cells = {name: self.model.get_layer(name).output.shape[1] for name in names}
        return next((name for name in reversed(names) if cells[name] >= CAM_CELLS), names[0])

    @cached_property
    def halves(self) -> tuple[keras.Model, keras.Model]:
        """Network up to :attr:`cam_layer`, and from there to the log-odds."""
        from keras import Model

        middle = self.model.get_layer(self.cam_layer).output
        return Model(self.model.input, middle), Model(middle, self.model.output)

    @cached_property
    def gradient(self) -> Gradient:
        """Gradient of the log-odds of a class with respect to the network input."""
        return gradient_of(self.model)

    @cached_property
    def cam_gradient(self) -> Gradient:
        """The same with respect to the output of :attr:`cam_layer`."""
        return gradient_of(self.halves[1])

    def log_odds(self, images: NDArray[np.uint8], output: int) -> NDArray[np.float64]:
        """Log-odds of a class.

        Parameters
        ----------
        images : array of uint8, shape (n, side, side)
        output : int
            Number of the class.

        Returns
        -------
        array of float64, shape (n,)
        """
        found = []
        for start in range(0, len(images), BATCH):
            batch = images[start : start + BATCH]
            # one batch shape: another would be traced and compiled anew
            full = np.resize(batch, (BATCH, *batch.shape[1:]))
            scores = np.asarray(self.model.predict_on_batch(self.backbone.preprocess(full)))
            found.append(scores[: len(batch), output].astype(np.float64))
        return np.concatenate(found)

    def randomised(self, what: Randomised, *, seed: int) -> ExplainedNetwork:
        """The same network with some of its weights drawn anew, from the output downwards.

        Parameters
        ----------
        what : {"head", "block", "all"}
            The head; the head and the last block of the backbone; everything.
        seed : int
            May be that of training: other numbers are drawn with it.

        Returns
        -------
        ExplainedNetwork
            What is drawn anew has the distribution that training from scratch starts with.
        """
        import keras

        # training's own seed would give back the very weights that training began with
        (own,) = np.random.SeedSequence([seed, 1]).generate_state(1)
        keras.utils.set_random_seed(int(own))
        fresh = keras.models.clone_model(self.probabilities)
        kept = self._kept(what)
        for old, new in zip(self.probabilities.layers, fresh.layers, strict=True):
            if old.name in kept:
                new.set_weights(old.get_weights())
        # a fixed scale of the features, which no training has made
        here, there = (model.layers[-1].get_layer(SCALING) for model in (self.probabilities, fresh))
        there.set_weights(here.get_weights())
        return ExplainedNetwork(self.backbone, fresh)

    def _kept(self, what: Randomised) -> set[str]:
        """Layers that keep their weights."""
        cut = {"head": self.backbone.cut(0), "block": self.backbone.cut(1), "all": None}[what]
        return {layer.name for layer in prefix(self.probabilities, [cut]).layers} if cut else set()
