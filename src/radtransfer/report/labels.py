"""Names that readers see for what the code calls by key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from radtransfer.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

_MODELS = {
    "metadata": "Age, sex and view only",
    "slice_position": "Slice position only",
    "border": "Border and brightness",
    "thumbnail32": "32×32 thumbnail",
    "handcrafted_logistic": "Handcrafted features, logistic regression",
    "handcrafted_svm": "Handcrafted features, SVM",
    "handcrafted_forest": "Handcrafted features, random forest",
    "custom_cnn_scratch": "Custom CNN, from scratch",
    "vgg16_frozen": "VGG16, frozen",
    "vgg16_finetuned": "VGG16, fine-tuned",
    "efficientnet_lite0_frozen": "EfficientNet-Lite0, frozen",
    "efficientnet_lite0_finetuned": "EfficientNet-Lite0, fine-tuned",
    "mobilenet_frozen": "MobileNet, frozen",
    "mobilenet_finetuned": "MobileNet, fine-tuned",
    "mobilenet_logistic": "MobileNet, frozen, logistic regression",
    "file_size": "Size of the file only",
}

_TASKS = {
    "pneumonia": "Pneumonia, chest X-ray",
    "bacterial": "Bacterial v. viral pneumonia, chest X-ray of children",
    "haemorrhage": "Haemorrhage, head CT",
    "tumour": "Tumour type, brain MRI",
    "nodule": "Nodule, chest CT",
    "kermany_normal": "Pneumonia v. normal, chest X-ray of children",
    "haemorrhage_all": "Haemorrhage, all slices of head CT",
    "tumour4": "Tumour type or none, brain MRI",
    "rsna": "Pneumonia, chest X-ray (RSNA)",
}

SHORTCUTS = ("metadata", "slice_position", "border", "thumbnail32")
TRADITIONAL = ("handcrafted_logistic", "handcrafted_svm", "handcrafted_forest")


PRIMARY_NETWORKS = ("vgg16_finetuned", "mobilenet_finetuned")
"""The paper's main model, and the one that stands for it in a task where its last block was not trained.

Named before the results of the task were seen.
"""

SCRATCH_NETWORK = "custom_cnn_scratch"


def primary_network(models: Iterable[str]) -> str:
    """Network that stands for transfer learning in the declared comparisons.

    Parameters
    ----------
    models : iterable of str
        What was trained.

    Returns
    -------
    str
        First of :data:`PRIMARY_NETWORKS` among them.

    Raises
    ------
    InputError
        If there is none.
    """
    trained = set(models)
    for name in PRIMARY_NETWORKS:
        if name in trained:
            return name
    raise InputError(
        "no network stands for transfer learning", hint=f"train one of {', '.join(PRIMARY_NETWORKS)}"
    )


def task_label(task: str) -> str:
    """Name of a task for readers; the key itself of one that the study does not know."""
    return _TASKS.get(task, task)


def model_label(model: str, weights: str = "none") -> str:
    """Name of a model for readers.

    Parameters
    ----------
    model : str
        Name in the prediction table.
    weights : str
        Where its weights came from. A transfer network that had to start from random numbers
        says so, lest it be taken for transfer learning.

    Returns
    -------
    str
    """
    label = _MODELS.get(model, model)
    if weights == "random" and not model.endswith("_scratch"):
        label += " (random weights, no transfer)"
    return label


def family(model: str) -> str:
    """Group a model belongs to: shortcut, traditional, scratch or transfer."""
    if model in SHORTCUTS:
        return "shortcut"
    if model in TRADITIONAL:
        return "traditional"
    return "scratch" if model.endswith("_scratch") else "transfer"
