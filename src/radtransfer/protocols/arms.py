"""One learner under several protocols: all but the deal is held fixed, and each fit is a run record."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from radtransfer.baselines.learners import BASELINES, Baseline, Features, fit, patient_groups
from radtransfer.errors import RunError, unknown_name
from radtransfer.hashing import sha256_json
from radtransfer.training.classes import PARTS, class_options
from radtransfer.training.runs import RunRecord, RunSpec, RunStore, predictions_frame, software_environment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from radtransfer.data.splits import Split
    from radtransfer.data.store import CuratedDataset
    from radtransfer.protocols.deals import Deal
    from radtransfer.training.runs import WeightsKind

    Table = NDArray[np.floating[Any]] | pd.DataFrame

RECIPE: Final = 1
"""Raised when a change of this sub-package changes results."""

FROZEN: Final = "mobilenet_logistic"


@dataclass(frozen=True)
class Embedding:
    """Features of a network whose weights stay as they are.

    Attributes
    ----------
    compute : callable
        Of a dataset: features of its images, shape (n, n_features).
    weights : {"imagenet", "random"}
        What the network started from.
    weights_digest : str
        Tensor digest of pretrained weights, empty without.
    input_size : int
        Side of the network's input, px.
    """

    compute: Callable[[CuratedDataset], NDArray[np.float32]]
    weights: WeightsKind
    weights_digest: str
    input_size: int


class Tables(Features):
    """Feature tables of a dataset: those of the baselines, the size of the files, a frozen network's.

    Parameters
    ----------
    dataset : CuratedDataset
    embedding : Embedding
    progress : callable of str, optional
        Told what takes long.
    """

    def __init__(
        self, dataset: CuratedDataset, embedding: Embedding, progress: Callable[[str], None] | None = None
    ) -> None:
        super().__init__(dataset, progress)
        self.dataset, self.embedding = dataset, embedding

    @cached_property
    def file_size(self) -> NDArray[np.float64]:
        """Logarithm of the size of each image's file, shape (n, 1)."""
        size = self.dataset.cohort.frame[["file_bytes"]].to_numpy(dtype=np.float64)
        return np.asarray(np.log(size))

    @cached_property
    def frozen(self) -> NDArray[np.float64]:
        """Pooled output of the frozen network."""
        return np.asarray(self.embedding.compute(self.dataset), np.float64)


LEARNERS: Final[dict[str, Baseline]] = BASELINES | {
    "file_size": replace(
        BASELINES["border"],
        name="file_size",
        title="Size of the file; logistic regression",
        features=lambda tables: tables.file_size,  # type: ignore[attr-defined]
        grid={},
        facts=True,
    ),
    FROZEN: replace(
        BASELINES["handcrafted_logistic"],
        name=FROZEN,
        title="Frozen MobileNet; logistic regression",
        features=lambda tables: tables.frozen,  # type: ignore[attr-defined]
    ),
}
"""What may be fitted under a protocol, by name: the baselines, and two more."""


@dataclass(frozen=True)
class Material:
    """Images of one dataset, or of several under one label, with what is known of them.

    Attributes
    ----------
    task : str
    classes : tuple of str
        Names of the classes, in the order of their numbers.
    facts : DataFrame
        Columns image_id, unit (patient, or what stands for one) and label; row i has row i of all features.
    tables : tuple of Tables
        One a dataset.
    """

    task: str
    classes: tuple[str, ...]
    facts: pd.DataFrame
    tables: tuple[Tables, ...]

    @classmethod
    def of(cls, tables: Mapping[str, Tables]) -> Material:
        """Images of datasets by name, each labelled by its own task; the classes are those of the first.

        Of several datasets ids begin with the name: ``"pneumonia:0001"``.
        """
        facts = []
        for name, each in tables.items():
            frame = each.dataset.cohort.frame
            unit = "patient_id" if each.dataset.patients_known else "group_id"
            ids = frame[["image_id", unit]].set_axis(["image_id", "unit"], axis="columns")
            ids = f"{name}:" + ids if len(tables) > 1 else ids
            facts.append(ids.assign(label=each.dataset.labels(each.dataset.task)))
        first = next(iter(tables.values())).dataset
        return cls(
            task=first.task,
            classes=first.cohort.classes_of(first.task),
            facts=pd.concat(facts, ignore_index=True),
            tables=tuple(tables.values()),
        )

    @property
    def digest(self) -> str:
        """Of the dataset, or of several together."""
        digests = [table.dataset.digest for table in self.tables]
        return digests[0] if len(digests) == 1 else sha256_json(digests)

    @cached_property
    def label(self) -> dict[str, int]:
        """Number of each image's class."""
        return dict(zip(self.facts["image_id"], self.facts["label"].astype(int), strict=True))

    @cached_property
    def unit(self) -> dict[str, str]:
        """Patient of each image, or what stands for one."""
        return dict(zip(self.facts["image_id"], self.facts["unit"], strict=True))

    def features(self, learner: Baseline) -> Table:
        """Features for a learner, one row an image."""
        parts = [learner.features(table) for table in self.tables]
        if isinstance(parts[0], pd.DataFrame):
            return pd.concat([pd.DataFrame(part) for part in parts], ignore_index=True)
        return np.concatenate([np.asarray(part) for part in parts])


def fit_deals(
    material: Material,
    deals: Sequence[Deal],
    *,
    learner: str,
    seed: int,
    store: RunStore | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, list[RunRecord]]:
    """Fit one learner under several protocols.

    Hyperparameters are chosen within training parts, by cross-validation that keeps together what the
    protocol believes to be one patient. Predictions name the patients that are known.

    Parameters
    ----------
    material : Material
    deals : sequence of Deal
    learner : str
        Name in :data:`LEARNERS`.
    seed : int
        Of the inner folds and the learner.
    store : RunStore, optional
        Where records are kept; a run that is there is not fitted again.
    progress : callable of str, optional
        Told of every run that is fitted.

    Returns
    -------
    dict of str to list of RunRecord
        By name of the deal, one for each split.

    Raises
    ------
    InputError
        If the learner is unknown, or a training part too small to choose hyperparameters in.
    RunError
        If a part lacks a class.
    """
    if learner not in LEARNERS:
        raise unknown_name("learner", learner, LEARNERS)
    store, tell = store or RunStore(), progress or (lambda _: None)
    return {
        deal.name: [
            _fit_split(material, deal, k, LEARNERS[learner], seed, store, tell)
            for k in range(len(deal.splits))
        ]
        for deal in deals
    }


def _fit_split(
    material: Material,
    deal: Deal,
    number: int,
    learner: Baseline,
    seed: int,
    store: RunStore,
    tell: Callable[[str], None],
) -> RunRecord:
    embedding = material.tables[0].embedding if learner.name == FROZEN else None
    spec = RunSpec(
        recipe=RECIPE,
        kind="baseline",
        model=learner.name,
        task=material.task,
        dataset_digest=material.digest,
        folds_digest=deal.digest,
        fold=number,
        weights=embedding.weights if embedding else "none",
        weights_digest=embedding.weights_digest if embedding else "",
        options={"protocol": deal.name}
        | ({"input_size": embedding.input_size} if embedding else {})
        | class_options(material.classes),
        seed=seed,
    )
    with store.claim(spec):
        if store.has(spec):
            return store.load(spec)
        tell(f"{learner.name}, {deal.name}, model {number + 1} of {len(deal.splits)}")
        return _fit(material, deal.splits[number], learner, spec, store)


def _fit(material: Material, split: Split, learner: Baseline, spec: RunSpec, store: RunStore) -> RunRecord:
    features = material.features(learner)

    def pick(index: NDArray[np.intp]) -> Table:
        return features.iloc[index] if isinstance(features, pd.DataFrame) else features[index]

    row = pd.Series(np.arange(len(material.facts)), index=material.facts["image_id"])
    rows = {part: row.loc[list(split.ids(part))].to_numpy() for part in PARTS}
    label = material.facts["label"].to_numpy(dtype=np.int64)
    for part, members in rows.items():
        if absent := set(range(len(material.classes))) - set(label[members].tolist()):
            raise RunError(
                f"{spec.model}, {spec.options['protocol']}: the {part} part has no image of class "
                f"{material.classes[min(absent)]!r}",
                hint="use fewer folds or a larger validation fraction",
            )
    believed = patient_groups(split.table.loc[split.table["part"] == "train"])
    scored = np.concatenate([rows["validation"], rows["test"]])
    started = time.perf_counter()
    # matrices this small gain nothing from threads, and sums do not then depend on how many there are
    with threadpool_limits(limits=1, user_api="blas"):
        model, metrics = fit(learner, pick(rows["train"]), label[rows["train"]], believed, seed=spec.seed)
        scores = model.predict_proba(pick(scored))
    facts = material.facts.iloc[scored]
    return store.write(
        spec,
        predictions_frame(
            spec,
            image_ids=facts["image_id"].tolist(),
            patient_ids=facts["unit"].tolist(),
            part=["validation"] * len(rows["validation"]) + ["test"] * len(rows["test"]),
            labels=label[scored],
            scores=scores,
            classes=material.classes,
        ),
        metrics=metrics,
        timings={"train_s": time.perf_counter() - started, "n_train": len(rows["train"])},
        environment=software_environment("scikit-learn", "scikit-image", "scipy"),
    )
