"""torchvision beside a CPU build of torch, for tests that compare with transformers' own processors.

These tests run in an environment of their own (`make test-torchvision`); everything else is tested without torchvision.
"""

import subprocess
import sys

import pytest
import torch


def _import_torchvision():
    """Import torchvision, declaring first the two operators of it that a build for another torch cannot register.

    PyPI's build is linked to CUDA. Beside a CPU build of torch its compiled part does not load, and the import stops
    where torchvision describes operators that the compiled part should have declared. Declared here, they stay
    unimplemented; resizing does not use them.
    """
    check = subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True, text=True, check=False)
    if check.returncode and "operator torchvision::nms does not exist" not in check.stderr:
        pytest.exit(f"torchvision cannot be imported; run `make test-torchvision`:\n{check.stderr}", returncode=3)
    if check.returncode:
        torch.library.define("torchvision::nms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        torch.library.define("torchvision::qnms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision  # noqa: F401


_import_torchvision()
