"""torchvision beside a CPU build of torch, for an environment that is thrown away.

`make test-lmms` copies this into its environment, with a .pth file that imports it whenever Python starts there.
PyPI's torchvision is linked to CUDA. Beside a CPU build of torch its compiled part does not load, and the import stops
where torchvision describes operators that the compiled part should have declared. Declared here, just before
torchvision is imported, they stay without an implementation; resizing does not use them.
"""

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from pathlib import Path


class Declare(MetaPathFinder):
    """Finds nothing; declares the operators when somebody looks for torchvision and its compiled part cannot."""

    def find_spec(self, name, path, target=None):
        if name != "torchvision":
            return None
        sys.meta_path.remove(self)
        found = PathFinder.find_spec(name, path, target)
        if found is not None and found.origin is not None:
            declare(Path(found.origin).parent)
        return None


def declare(folder):
    import torch

    try:
        for compiled in folder.glob("_C*"):
            torch.ops.load_library(str(compiled))
    except OSError:
        for operator in ("nms", "qnms"):
            arguments = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            torch.library.define(f"torchvision::{operator}", arguments)


sys.meta_path.insert(0, Declare())
