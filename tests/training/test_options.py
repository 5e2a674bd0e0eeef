from __future__ import annotations

from radtransfer.training.runs import TrainingOptions, options_by_network

NETWORKS = ["vgg16_finetuned", "mobilenet_finetuned"]


def test_only_the_named_network_differs() -> None:
    options = TrainingOptions(input_size=128, finetune_learning_rate=1e-4, seed=7)
    chosen = options_by_network(
        NETWORKS,
        options,
        task="pneumonia",
        input_sizes={"mobilenet_finetuned": 224},
        finetune_rates={"mobilenet_finetuned": 3e-5},
    )
    assert chosen["vgg16_finetuned"] == options
    assert chosen["mobilenet_finetuned"] == options.model_copy(
        update={"input_size": 224, "finetune_learning_rate": 3e-5}
    )


def test_what_is_given_of_a_network_in_a_task_goes_before_and_ends_there() -> None:
    sizes = {"tumour.vgg16_finetuned": 96, "vgg16_finetuned": 160}
    side = {
        task: options_by_network(
            NETWORKS, TrainingOptions(input_size=128), task=task, input_sizes=sizes, finetune_rates={}
        )["vgg16_finetuned"].input_size
        for task in ("tumour", "pneumonia")
    }
    assert side == {"tumour": 96, "pneumonia": 160}
