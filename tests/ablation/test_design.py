"""Factors change one thing; what they share is one arm."""

from __future__ import annotations

import pytest

from radtransfer.ablation import design
from radtransfer.errors import InputError
from radtransfer.training.runs import TrainingOptions

BASE = design.Base(
    backbone="vgg16",
    blocks=("block1", "block2", "block3", "block4", "block5"),
    options=TrainingOptions(input_size=64, seed=7),
    whole_learning_rate=3e-4,
    seeds=(7, 8),
    fine_tuned=1,
)
STAGES = {"first": ["block1", "block2"], "last": ["block3", "block4", "block5"]}


@pytest.mark.parametrize(
    "factor",
    [
        design.dropouts(BASE, [0.0, 0.5]),
        design.heads(BASE, [[], [256, 64]]),
        design.views(BASE, [0, 4]),
        design.resolutions(BASE, [64, 96]),
        design.recipes(BASE),
    ],
    ids=lambda factor: factor.key,
)
def test_levels_differ_from_the_reference_in_their_factor_alone(factor: design.Factor) -> None:
    reference = factor.arms[factor.reference]
    assert reference.options == tuple(BASE.options.model_copy(update={"seed": seed}) for seed in (7, 8))
    for level, arm in factor.arms.items():
        assert arm.network == BASE.frozen()
        (one, *_), (usual, *_) = arm.options, reference.options
        changed = {
            name for name in TrainingOptions.model_fields if getattr(one, name) != getattr(usual, name)
        }
        assert len(changed) == (level != factor.reference)


def test_two_starts_differ_in_nothing_but_the_start() -> None:
    scratch, whole = design.starts(BASE).arms.values()
    assert scratch.options == whole.options
    assert scratch.options[0].learning_rate == 3e-4
    assert scratch.network.trains_all
    assert whole.network.trains_all
    assert not scratch.network.pretrained
    assert whole.network.pretrained


def test_augmentations_stand_alone() -> None:
    arms = design.augmentations(BASE, ["none", "zoom", "flip", "all"]).arms
    (zoom, *_), (flip, *_), (usual, *_) = (arms[kind].options for kind in ("zoom", "flip", "all"))
    assert (zoom.zoom, zoom.shift, zoom.rotation_degrees) == (usual.zoom, 0, 0)
    assert (flip.horizontal_flip, flip.zoom) == (True, 0)
    assert arms["none"].options[0].views == 0


def test_every_stage_loses_its_own_blocks() -> None:
    arms = design.reinitialised(BASE, STAGES, trained=False).arms
    assert arms["first"].network.reinitialised == ("block1", "block2")
    assert arms["everything"].network.reinitialised == BASE.blocks
    assert arms["none"].network == BASE.frozen()


def test_stages_that_are_not_all_blocks_are_refused() -> None:
    with pytest.raises(InputError, match="stages are not the blocks of vgg16"):
        design.reinitialised(BASE, {"first": ["block1"], "last": ["block5"]}, trained=False)


def test_a_reference_has_to_be_a_level() -> None:
    with pytest.raises(InputError, match="level of dropout"):
        design.dropouts(BASE, [0.1])


def test_depths_elsewhere_are_the_same_networks_on_other_images_and_from_one_seed() -> None:
    factor = design.depths_elsewhere(BASE, "haemorrhage", "Haemorrhage", input_size=128)
    assert (factor.key, factor.title) == ("depth_haemorrhage", "Haemorrhage")
    assert list(factor.arms) == ["0", "1", "5"]
    usual = BASE.options.model_copy(update={"input_size": 128, "seed": 7})
    assert {arm.options for arm in factor.arms.values()} == {(usual,)}
    assert factor.arms["5"].network == BASE.finetuned(5)
