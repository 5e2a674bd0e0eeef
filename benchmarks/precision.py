"""Heads on a frozen network in bfloat16 beside the same in float32, on the study's own images.

``python benchmarks/precision.py [TASK=FOLDER ...] [--size 128] [--seeds 3] [--output FILE.json]``

Each folder is a curated dataset, as ``work/curated/`` holds them; without any, phantoms show that it runs. Of
each network and task: seconds of one pass of all images, unchanged, in either precision, and the AUC of heads
on what it gives, all folds, several seeds, with the interval of the difference over resampled patients
(``radtransfer.ablation.compare``). No target: how much faster the pass has to be is in ``training.py``. Where
the processor has no bfloat16 there is nothing to measure.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from training import TASK, images_of, multiplies_bfloat16

from radtransfer import paths
from radtransfer.ablation.compare import compare_levels
from radtransfer.ablation.design import options_factor
from radtransfer.ablation.train import base_of, train_factors
from radtransfer.atomic import write_json
from radtransfer.data.store import CuratedDataset
from radtransfer.models.descriptions import Precision
from radtransfer.models.registry import backbone
from radtransfer.models.weights import load_backbone, obtain_weights
from radtransfer.report.inputs import unit_of
from radtransfer.training.features import Tap, stored_activations, stored_views
from radtransfer.training.runs import RunStore, TrainingOptions

NETWORKS = ("vgg16", "mobilenet")
EXACT: Final = "float32"
ROUNDED: Final = "mixed_bfloat16"
SEED = 20240607


def measure(dataset: CuratedDataset, task: str, name: str, *, size: int, n_seeds: int) -> dict[str, Any]:
    """AUC of heads in both precisions, and the seconds of a pass in either."""
    options = TrainingOptions(input_size=size, views=0, seed=SEED)
    base = base_of(name, options, whole_learning_rate=3e-4, n_seeds=n_seeds, fine_tuned=0)
    levels = {EXACT: (EXACT, {}), ROUNDED: (ROUNDED, {"precision": ROUNDED})}
    factor = options_factor(base, "precision", "Precision", levels, EXACT)
    seconds = {level: seconds_of_pass(dataset, name, level, size) for level in (EXACT, ROUNDED)}
    with tempfile.TemporaryDirectory(dir=paths.work_dir()) as store:
        trained = train_factors(dataset, [factor], task=task, n_folds_used=None, store=RunStore(Path(store)))
        compared = compare_levels(
            factor,
            trained["precision"],
            n_resamples=2000,
            level=0.95,
            seed=SEED,
            unit=unit_of(dataset),
        )
    difference = compared.difference(ROUNDED, EXACT, "auc")
    return {
        "task": task,
        "network": name,
        "size": size,
        "n": dict(compared.n),
        "seeds": n_seeds,
        "start": base.start,
        "seconds": seconds,
        "auc": {level: compared.levels[level].metrics["auc"].estimate for level in (EXACT, ROUNDED)},
        "difference": {"estimate": difference.estimate, "low": difference.low, "high": difference.high},
    }


def seconds_of_pass(dataset: CuratedDataset, name: str, precision: Precision, size: int) -> float:
    """Of the pass that the heads start from; what it gives stays in the work folder for them."""
    parts, options = backbone(name), TrainingOptions(input_size=size, views=0, seed=SEED)
    views = stored_views(dataset, dataset.image_ids, options)
    base = load_backbone(parts, size, obtain_weights(parts), seed=SEED, precision=precision)
    tap = Tap(parts.blocks[-1][1], pooled=True)
    return float(stored_activations(views, parts, base, (tap,))[tap].seconds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("datasets", nargs="*", metavar="TASK=FOLDER")
    parser.add_argument("--size", type=int, default=128, help="side of the network's input in px")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if not multiplies_bfloat16():
        print("precision: the processor has no bfloat16", file=sys.stderr)
        return 0
    # phantoms must never be taken for what was measured of real images
    name = "precision.json" if options.datasets else "precision_phantoms.json"
    output = options.output or paths.work_dir() / "bench" / name
    output.parent.mkdir(parents=True, exist_ok=True)
    found = []
    named = (each.partition("=") for each in options.datasets)
    datasets = {task: CuratedDataset.open(Path(folder)) for task, _, folder in named}
    for task, dataset in (datasets or {TASK: images_of(160, 64)}).items():
        for network in NETWORKS:
            found.append(measure(dataset, task, network, size=options.size, n_seeds=options.seeds))
            print(json.dumps(found[-1]), flush=True)
            write_json(output, {"found": found})
    return 0


if __name__ == "__main__":
    sys.exit(main())
