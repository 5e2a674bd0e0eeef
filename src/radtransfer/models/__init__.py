"""Backbones, their pretrained weights and the heads put on them."""

import os
import platform

if platform.machine() in ("x86_64", "AMD64"):
    # TensorFlow takes its faster kernels by itself only where the processor has instructions for neural
    # networks. With AVX2 alone they train half as fast again, too; it has to be told before it is loaded
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
