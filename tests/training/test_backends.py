"""One network on several backends of Keras, and on several devices."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

SCORES = """
import sys
from pathlib import Path
import keras
import numpy as np
from radtransfer.models.registry import BACKBONES

found = {}
for name, entry in BACKBONES.items():
    model = entry.build(max(32, entry.min_size))
    rng = np.random.default_rng(0)

    def drawn(shape):
        # kernels of He's scale, so that nothing vanishes on the way; of the rest no variance is 0
        if len(shape) == 1:
            return rng.uniform(0.5, 1, shape)
        return rng.normal(0, (2 / np.prod(shape[:-1])) ** 0.5, shape)

    model.set_weights([drawn(weight.shape) for weight in model.weights])
    size = model.input_shape[1]
    images = rng.integers(0, 256, (3, size, size), dtype=np.uint8)
    found[name] = model.predict_on_batch(entry.preprocess(images))
np.savez(sys.argv[1], backend=keras.backend.backend(), **found)
"""


def run(script: str, *arguments: object, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def of_tensorflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Outputs of all backbones for the same weights and images, computed by TensorFlow."""
    path = tmp_path_factory.mktemp("scores") / "tensorflow.npz"
    run(SCORES, path, KERAS_BACKEND="tensorflow")
    return path


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_backbones_give_what_tensorflow_gives(
    backend: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed; make test-backends")
    if os.environ.get("KERAS_BACKEND", "tensorflow") not in ("tensorflow", backend):
        pytest.skip("this is the other backend's turn")
    run(SCORES, tmp_path / "other.npz", KERAS_BACKEND=backend)
    with (
        np.load(request.getfixturevalue("of_tensorflow")) as expected,
        np.load(tmp_path / "other.npz") as found,
    ):
        assert (str(expected["backend"]), str(found["backend"])) == ("tensorflow", backend)
        for name in set(expected.files) - {"backend"}:
            scale = np.abs(expected[name]).max()
            assert np.isfinite(scale)
            assert scale > 0
            np.testing.assert_allclose(found[name] / scale, expected[name] / scale, atol=1e-4, err_msg=name)


SHARED = """
import json
import sys
from pathlib import Path
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

from radtransfer.data.phantoms import PhantomSpec
from radtransfer.data.store import curate
from radtransfer.errors import InputError
from radtransfer.training.fit import train_networks
from radtransfer.training.runs import NetworkSpec, RunStore, TrainingOptions

spec = PhantomSpec(n_patients=60, images_per_patient=1, size=48, auc=0.99, seed=3)
dataset = curate("phantom_xray", task="pneumonia", image_size=32, n_folds=2, seed=1, phantom=spec)
# odd batches: shares are filled up; no dropout, whose numbers each device draws for itself
tuned = NetworkSpec(name="tuned", backbone="custom_cnn", regime="finetuned", trainable_blocks=2)
options = TrainingOptions(
    input_size=32, views=1, epochs=2, patience=2, batch_size=7, head_units=(8,), dropout=0.0,
    class_weights="balanced", learning_rate=1e-3, finetune_learning_rate=1e-3, seed=5,
)
told = []
for replicas in (1, 2):
    (record,) = train_networks(
        dataset,
        task="pneumonia",
        networks=[tuned],
        options=options.model_copy(update={"replicas": replicas}),
        n_folds_used=1,
        store=RunStore(Path(sys.argv[1]) / "runs"),
    )
    told.append(
        {
            "losses": [[epoch["loss"], epoch["validation_loss"]] for epoch in record.history],
            "scores": record.predictions()["score"].tolist(),
            "weights": [float(np.abs(array).sum()) for array in record.arrays().values()],
            "replicas": record.spec.options.get("replicas"),
            "device": record.environment["device"],
        }
    )
try:
    train_networks(
        dataset, task="pneumonia", networks=[tuned], options=options.model_copy(update={"replicas": 3}),
        n_folds_used=1, store=RunStore(Path(sys.argv[1]) / "runs"),
    )
except InputError as error:
    told.append(str(error))
print(json.dumps(told))
"""


def test_two_devices_train_as_one_does(tmp_path: Path) -> None:
    output = run(
        SHARED,
        tmp_path,
        KERAS_BACKEND="tensorflow",
        RADTRANSFER_WORK=str(tmp_path / "work"),
        RADTRANSFER_OFFLINE="1",
    )
    one, two, three = json.loads(output.splitlines()[-1])
    assert len(one["losses"]) == 4  # two epochs of the head alone, two with its blocks
    for part in ("losses", "scores", "weights"):
        np.testing.assert_allclose(two[part], one[part], rtol=1e-4, atol=1e-6, err_msg=part)
    assert (one["replicas"], two["replicas"]) == (None, 2)
    assert (one["device"], two["device"]) == ("CPU", "2 x CPU")
    assert three == "3 replicas wanted where TensorFlow sees 2 CPU (lower replicas to the number of GPUs)"
