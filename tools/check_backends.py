"""The smoke part of the suite on each of Keras's backends that is installed; any failure fails.

TensorFlow is what ``make test`` runs on. Here the same tests of networks and training run on JAX and on
PyTorch, and networks are compared between the backends.
"""

import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SMOKE = ("tests/training/test_backends.py", "tests/training/test_fit.py", "tests/models/test_networks.py")
INSTALL = {
    "jax": "make environment EXTRAS=jax",
    "torch": f"{sys.executable} -m pip install torch",
}


def main() -> None:
    """Run the tests."""
    failed = []
    for backend, how in INSTALL.items():
        if find_spec(backend) is None:
            print(f"--- {backend}: skipped, it is not installed here; {how}", flush=True)
            continue
        print(f"--- {backend}", flush=True)
        start = time.monotonic()
        command = (sys.executable, "-m", "pytest", "-n", "2", "-m", "not slow", *SMOKE)
        if subprocess.run(command, cwd=ROOT, env=os.environ | {"KERAS_BACKEND": backend}).returncode:
            failed.append(backend)
        print(f"{backend}: {time.monotonic() - start:.0f} s", flush=True)
    sys.exit(f"make test-backends: {', '.join(failed)} failed" if failed else 0)


if __name__ == "__main__":
    main()
