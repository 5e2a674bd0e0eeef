"""What is trained: factors, each with the levels it takes while everything else stays as it is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from radtransfer.errors import InputError, unknown_name
from radtransfer.training.runs import NetworkSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from radtransfer.training.runs import RunRecord, TrainingOptions

MOMENTUM: Final = 0.9
"""Of batch normalisation where everything is trained: an epoch has some twenty steps."""

AUGMENTATIONS: Final = ("none", "rotation", "zoom", "shift", "flip", "all")
"""Kinds of augmentation, each alone; ``all`` has the first three, as the rest of the study."""

SCRATCH_CURVE: Final = "custom_cnn_scratch"
"""Network from scratch of the curves by number of patients: the small one, that few images can train."""


@dataclass(frozen=True)
class Arm:
    """A network with its options, trained from several seeds.

    Attributes
    ----------
    label : str
        For readers.
    network : NetworkSpec
    options : tuple of TrainingOptions
        They differ in their seed alone.
    """

    label: str
    network: NetworkSpec
    options: tuple[TrainingOptions, ...]


@dataclass(frozen=True)
class Factor:
    """What is changed, and what it is compared with.

    Attributes
    ----------
    key : str
        Part of names of numbers.
    title : str
        For readers.
    arms : dict of str to Arm
        By level, a part of names of numbers.
    reference : str
        Level that the others are compared with.
    """

    key: str
    title: str
    arms: Mapping[str, Arm]
    reference: str

    def __post_init__(self) -> None:
        if self.reference not in self.arms:
            raise unknown_name(f"level of {self.key}", self.reference, self.arms)


@dataclass(frozen=True)
class Trained:
    """Run records of an arm.

    Attributes
    ----------
    arm : Arm
    runs : tuple of tuple of RunRecord
        By seed, then by fold.
    """

    arm: Arm
    runs: tuple[tuple[RunRecord, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Base:
    """What all arms have in common.

    Attributes
    ----------
    backbone : str
        Key of :data:`radtransfer.models.registry.BACKBONES`.
    blocks : tuple of str
        Names of its blocks, from input to output.
    options : TrainingOptions
    whole_learning_rate : float
        First rate where everything is trained, from whatever start.
    seeds : tuple of int
        The first is the only one of factors that are not repeated.
    fine_tuned : int
        Blocks that are trained where "fine-tuned" is said without a number.
    start : str
        Where pretrained weights are from, for readers.
    """

    backbone: str
    blocks: tuple[str, ...]
    options: TrainingOptions
    whole_learning_rate: float
    seeds: tuple[int, ...]
    fine_tuned: int
    start: str = "ImageNet"

    def frozen(self, **changes: Any) -> NetworkSpec:
        """Spec of the frozen network."""
        return NetworkSpec(name=f"{self.backbone}_frozen", backbone=self.backbone, regime="frozen", **changes)

    def finetuned(self, blocks: int, **changes: Any) -> NetworkSpec:
        """Spec of the network whose last blocks are trained; of the frozen one if none are."""
        if not blocks:
            return self.frozen(**changes)
        return NetworkSpec(
            name=f"{self.backbone}_finetuned_{blocks}",
            backbone=self.backbone,
            regime="finetuned",
            trainable_blocks=blocks,
            **changes,
        )

    def whole(self, reinitialised: Sequence[str] = ()) -> NetworkSpec:
        """Spec of the network that is trained throughout from pretrained weights, some blocks of them not."""
        return NetworkSpec(
            name=f"{self.backbone}_whole",
            backbone=self.backbone,
            regime="whole",
            reinitialised=tuple(reinitialised),
        )

    @property
    def scratch(self) -> NetworkSpec:
        """Spec of the same network from random numbers."""
        return NetworkSpec(name=f"{self.backbone}_scratch", backbone=self.backbone, regime="scratch")

    def arm(self, label: str, network: NetworkSpec, *, repeated: bool = True, **changes: Any) -> Arm:
        """Arm with changed options, of all seeds or of the first."""
        if network.trains_all:
            changes = {
                "learning_rate": self.whole_learning_rate,
                "normalisation_momentum": MOMENTUM,
            } | changes
        options = self.options.model_copy(update=changes)
        seeds = self.seeds if repeated else self.seeds[:1]
        return Arm(label, network, tuple(options.model_copy(update={"seed": seed}) for seed in seeds))


def starts(base: Base) -> Factor:
    """The same network trained in the same way from two starts."""
    return Factor(
        "start",
        "Start",
        {
            "scratch": base.arm("Random numbers", base.scratch),
            "imagenet": base.arm(base.start, base.whole()),
        },
        "scratch",
    )


def depths(base: Base, blocks: Iterable[int]) -> Factor:
    """How many blocks are fine-tuned, counted from the output."""
    n_blocks = len(base.blocks)
    arms = {"0": base.arm("Head alone", base.frozen())}
    for number in sorted(set(blocks) - {0}):
        label = "All blocks" if number == n_blocks else f"Last {number} of {n_blocks} blocks"
        arms[str(number)] = base.arm(label, base.finetuned(number), repeated=number == base.fine_tuned)
    return Factor("depth", "Trained", arms, "0")


def depths_elsewhere(base: Base, where: str, title: str, *, input_size: int) -> Factor:
    """The head, the usual last blocks and all blocks, where images or their size are others; one seed.

    Parameters
    ----------
    base : Base
    where : str
        Part of names of numbers.
    title : str
        For readers.
    input_size : int
        Side of the input, pixels.
    """
    there = replace(
        base, options=base.options.model_copy(update={"input_size": input_size}), seeds=base.seeds[:1]
    )
    factor = depths(there, (base.fine_tuned, len(base.blocks)))
    return replace(factor, key=f"{factor.key}_{where}", title=title)


def reinitialised(base: Base, stages: Mapping[str, Sequence[str]], *, trained: bool) -> Factor:
    """One stage after the other loses its pretrained weights.

    Parameters
    ----------
    base : Base
    stages : mapping of str to sequence of str
        Blocks by name of the stage, from input to output; every block once.
    trained : bool
        Whether the network is then trained throughout, so that it may make up for the loss; otherwise
        only the head is.

    Raises
    ------
    InputError
        If the stages are not all blocks, once and in order.
    """
    if tuple(chain(*stages.values())) != base.blocks:
        raise InputError(
            f"stages are not the blocks of {base.backbone}, in order",
            hint=f"its blocks: {', '.join(base.blocks)}",
        )
    if trained:
        arms = {
            "none": base.arm("Nothing", base.whole()),
            **{
                stage: base.arm(stage.capitalize(), base.whole(lost), repeated=False)
                for stage, lost in stages.items()
            },
            "everything": base.arm("Everything", base.scratch),
        }
        return Factor("retrained", "Started from random numbers, all trained", arms, "none")
    arms = {
        "none": base.arm("Nothing", base.frozen()),
        **{
            stage: base.arm(stage.capitalize(), base.frozen(reinitialised=tuple(lost)))
            for stage, lost in stages.items()
        },
        "everything": base.arm("Everything", base.frozen(reinitialised=base.blocks)),
    }
    return Factor("lost", "Started from random numbers, head trained", arms, "none")


def options_factor(
    base: Base, key: str, title: str, levels: Mapping[str, tuple[str, Mapping[str, Any]]], reference: str
) -> Factor:
    """One training option of the frozen network.

    Parameters
    ----------
    base : Base
    key, title : str
    levels : mapping of str to (str, mapping)
        Label and changed options by level.
    reference : str
    """
    arms = {level: base.arm(label, base.frozen(), **changes) for level, (label, changes) in levels.items()}
    return Factor(key, title, arms, reference)


def augmentations(base: Base, kinds: Iterable[str]) -> Factor:
    """Kinds of augmentation, each alone."""
    own = {"rotation": "rotation_degrees", "zoom": "zoom", "shift": "shift"}
    off: dict[str, Any] = dict.fromkeys(own.values(), 0.0)
    changes: dict[str, tuple[str, Mapping[str, Any]]] = {
        "none": ("None", {"views": 0}),
        **{
            kind: (kind.capitalize(), off | {option: getattr(base.options, option)})
            for kind, option in own.items()
        },
        "flip": ("Horizontal flip", off | {"horizontal_flip": True}),
        "all": ("Rotation, zoom and shift", {}),
    }
    levels = {}
    for kind in kinds:
        if kind not in changes:
            raise unknown_name("augmentation", kind, changes)
        levels[kind] = changes[kind]
    return options_factor(base, "augmentation", "Augmentation", levels, "none")


def views(base: Base, numbers: Iterable[int]) -> Factor:
    """How many stored views stand for augmentation on the fly."""
    levels = {str(number): (f"{number} views", {"views": number}) for number in numbers}
    return options_factor(base, "views", "Stored views", levels, str(base.options.views))


def dropouts(base: Base, rates: Iterable[float]) -> Factor:
    """Dropout of the head."""
    levels = {_level(rate): (f"{rate:g}", {"dropout": rate}) for rate in rates}
    return options_factor(base, "dropout", "Dropout", levels, _level(base.options.dropout))


def heads(base: Base, widths: Iterable[Sequence[int]]) -> Factor:
    """Dense layers of the head."""

    def level(units: Sequence[int]) -> str:
        return "-".join(map(str, units)) or "linear"

    levels = {
        level(units): (" and ".join(map(str, units)) or "Softmax alone", {"head_units": tuple(units)})
        for units in widths
    }
    return options_factor(base, "head", "Dense layers of the head", levels, level(base.options.head_units))


def resolutions(base: Base, sizes: Iterable[int], *, blocks: int = 0) -> Factor:
    """Side of the input, with the frozen or the fine-tuned network."""
    arms = {
        str(size): base.arm(f"{size} px", base.finetuned(blocks), repeated=not blocks, input_size=size)
        for size in sizes
    }
    key, title = ("resolution_finetuned", "Input, fine-tuned") if blocks else ("resolution", "Input, frozen")
    return Factor(key, title, arms, str(base.options.input_size))


def recipes(base: Base) -> Factor:
    """Class weights, label smoothing and schedule."""
    levels: dict[str, tuple[str, Mapping[str, Any]]] = {
        "plain": ("As elsewhere", {}),
        "balanced": ("Class weights", {"class_weights": "balanced"}),
        "smoothed": ("Label smoothing 0.1", {"label_smoothing": 0.1}),
        "cosine": ("Cosine schedule", {"schedule": "cosine"}),
        "constant": ("Constant rate", {"schedule": "constant"}),
    }
    return options_factor(base, "recipe", "Loss and schedule", levels, "plain")


def curves(base: Base, fractions: Iterable[float], sources: Mapping[str, str]) -> tuple[Factor, ...]:
    """Starts at growing shares of the training patients, one factor a share.

    Parameters
    ----------
    base : Base
    fractions : iterable of float
    sources : mapping of str to str
        Labels of medical starts, by the key that :attr:`NetworkSpec.source` names.
    """
    networks = {
        "imagenet_frozen": (f"{base.start}, frozen", base.frozen()),
        "imagenet": (f"{base.start}, fine-tuned", base.finetuned(base.fine_tuned)),
        **{
            source: (label, base.finetuned(base.fine_tuned, source=source))
            for source, label in sources.items()
        },
        "scratch": (
            "From scratch (custom CNN)",
            NetworkSpec(name=SCRATCH_CURVE, backbone="custom_cnn", regime="scratch"),
        ),
    }
    # the small network is trained as in the rest of the study: it was built for few steps
    small: dict[str, Any] = {
        "learning_rate": base.options.learning_rate,
        "normalisation_momentum": None,
    }
    return tuple(
        Factor(
            f"share{100 * fraction:.0f}",
            f"{100 * fraction:.0f} % of the patients",
            {
                key: base.arm(
                    label, network, training_fraction=fraction, **(small if network.trains_all else {})
                )
                for key, (label, network) in networks.items()
            },
            "imagenet",
        )
        for fraction in fractions
    )


def single_factors(
    base: Base,
    *,
    depths_tried: Sequence[int],
    stages: Mapping[str, Sequence[str]],
    dropouts_tried: Sequence[float] = (),
    heads_tried: Sequence[Sequence[int]] = (),
    augmentations_tried: Sequence[str] = (),
    views_tried: Sequence[int] = (),
    resolutions_tried: Sequence[int] = (),
    resolutions_finetuned: Sequence[int] = (),
    recipes_tried: bool = False,
) -> tuple[Factor, ...]:
    """Factors in which most of the network stays frozen; those without levels to try are left out.

    Parameters
    ----------
    base : Base
    depths_tried, stages, dropouts_tried, heads_tried, augmentations_tried, views_tried, resolutions_tried
        As for the functions of this module that make each factor.
    resolutions_finetuned : sequence of int
        Sides of the input of the fine-tuned network.
    recipes_tried : bool
    """
    found = [depths(base, depths_tried), reinitialised(base, stages, trained=False)]
    if resolutions_tried:
        found.append(resolutions(base, resolutions_tried))
    if resolutions_finetuned:
        found.append(resolutions(base, resolutions_finetuned, blocks=base.fine_tuned))
    if augmentations_tried:
        found.append(augmentations(base, augmentations_tried))
    if views_tried:
        found.append(views(base, views_tried))
    if dropouts_tried:
        found.append(dropouts(base, dropouts_tried))
    if heads_tried:
        found.append(heads(base, heads_tried))
    if recipes_tried:
        found.append(recipes(base))
    return tuple(found)


def all_arms(factors: Iterable[Factor]) -> Iterator[Arm]:
    """Arms of all factors."""
    for factor in factors:
        yield from factor.arms.values()


def _level(number: float) -> str:
    """Number as a part of a name: ``0.25`` is ``025``."""
    return f"{number:g}".replace(".", "")
