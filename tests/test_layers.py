"""TensorFlow is loaded by models and training alone; import-linter checks the rest statically."""

from __future__ import annotations

import importlib.util
import pkgutil
import subprocess
import sys

import radtransfer

KERAS = ("radtransfer.models", "radtransfer.training.fit", "radtransfer.training.features")
"""Modules that may load it when they are imported; all others only inside functions, if at all."""


def test_importing_everything_else_does_not_load_tensorflow() -> None:
    # a process of its own: other tests of this one may have loaded it
    names = [
        module.name
        for module in pkgutil.walk_packages(radtransfer.__path__, "radtransfer.")
        if not module.name.startswith(KERAS) and not module.name.endswith("__main__")
    ]
    assert "radtransfer.study.driver" in names
    code = (
        "import importlib, sys\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
        "    assert not {'tensorflow', 'keras', 'torch'} & set(sys.modules), name\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_torch_is_not_there_to_be_imported() -> None:
    assert importlib.util.find_spec("torch") is None
