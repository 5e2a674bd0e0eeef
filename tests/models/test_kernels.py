"""What TensorFlow is told before it is loaded."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="these kernels are for x86 processors"
)


@pytest.mark.parametrize(("given", "found"), [(None, "1"), ("0", "0")])
def test_faster_kernels_are_taken_unless_the_user_says_otherwise(given: str | None, found: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TF_ENABLE_ONEDNN_OPTS"}
    if given is not None:
        environment["TF_ENABLE_ONEDNN_OPTS"] = given
    code = "import os, sys, radtransfer.training.fit; assert 'tensorflow' not in sys.modules; "
    code += "print(os.environ['TF_ENABLE_ONEDNN_OPTS'])"
    told = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == found
