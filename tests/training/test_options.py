from __future__ import annotations

import pytest

from radtransfer.errors import InputError
from radtransfer.training.runs import TrainingOptions, options_by_network


def test_only_the_named_network_has_another_size() -> None:
    options = TrainingOptions(input_size=128, seed=7)
    chosen = options_by_network(
        ["vgg16_frozen", "mobilenet_frozen"], options, input_sizes={"mobilenet_frozen": 224}
    )
    assert chosen["vgg16_frozen"] == options
    assert chosen["mobilenet_frozen"] == options.model_copy(update={"input_size": 224})


def test_a_size_for_a_network_that_is_not_trained_is_refused() -> None:
    with pytest.raises(InputError, match="mobilenet_frozen"):
        options_by_network(["mobilenet_frozen"], TrainingOptions(), input_sizes={"mobilenet_frozn": 224})
