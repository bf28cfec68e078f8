"""torchvision beside a CPU build of torch."""

import subprocess
import sys

import torch

_MISSING = "operator torchvision::nms does not exist"


def import_torchvision():
    """Import torchvision, declaring first the operators of it that a build for another torch cannot register.

    PyPI's build is linked to CUDA. Beside a CPU build of torch its compiled part does not load, and the import stops
    where torchvision describes operators that the compiled part should have declared. Declared here, they stay without
    an implementation; resizing does not use them.
    """
    if "torchvision" in sys.modules:
        return
    check = subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True, text=True, check=False)
    if check.returncode and _MISSING not in check.stderr:
        raise SystemExit(f"torchvision cannot be imported; use `make test-torchvision`.\n{check.stderr}")
    if check.returncode:
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision  # noqa: F401
