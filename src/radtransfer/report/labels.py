"""Names that readers see for what the code calls by key."""

from __future__ import annotations

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
}

SHORTCUTS = ("metadata", "slice_position", "border", "thumbnail32")
TRADITIONAL = ("handcrafted_logistic", "handcrafted_svm", "handcrafted_forest")


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
