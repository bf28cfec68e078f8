"""Every tensor and every layer that is made says its dtype and device, so that the process's defaults do not matter.

What a factory takes from the process is silent: with `torch.set_default_dtype(torch.bfloat16)` a method keeps other
tokens, with another default device host bookkeeping lands on a GPU. Tensors made of others (`new_zeros`, `zeros_like`)
follow those, and `from_numpy` follows its array.
"""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest
from torch import nn
from torch.utils._device import _device_constructors

ROOT = Path(__file__).parents[1]
FILES = [*sorted((ROOT / "src" / "todre").rglob("*.py")), *sorted((ROOT / "benchmarks").rglob("*.py"))]
NAMED = {"dtype", "device"}
FACTORIES = {factory.__name__ for factory in _device_constructors()} | {"normal"}
FORBIDDEN = {"Tensor", "FloatTensor", "DoubleTensor", "HalfTensor", "BFloat16Tensor", "IntTensor", "LongTensor"}
FORBIDDEN |= {"BoolTensor", "get_default_dtype", "get_default_device", "set_default_dtype", "set_default_device"}
FORBIDDEN |= {"set_default_tensor_type"}
EXEMPT: dict[tuple[str, str], str] = {}
"""By file and call as `ast.unparse` writes it, why it may take a default."""


def faults(source: str) -> list[tuple[int, str, str]]:
    """(line, call, what is wrong) of each call that takes the process's dtype or device."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module in ("torch", "torch.nn"):
            names = {alias.name for alias in node.names} & (FACTORIES | FORBIDDEN | _layers())
            found += [(node.lineno, name, "is imported by itself, where it cannot be seen") for name in names - TYPES]
        elif isinstance(node, ast.Import):
            aliases = [alias for alias in node.names if alias.name in ("torch", "torch.nn") and alias.asname]
            found += [(node.lineno, alias.name, "has another name") for alias in aliases]
        elif isinstance(node, ast.Call) and (wrong := _wrong(node)):
            found.append((node.lineno, ast.unparse(node), wrong))
    return found


TYPES = {"Tensor"}
"""Names that are imported to be written as types."""


def _layers() -> set[str]:
    """Layers of torch.nn that take a dtype."""
    return {name for name, cls in vars(nn).items() if inspect.isclass(cls) and _takes_dtype(cls)}


def _takes_dtype(cls: type) -> bool:
    return issubclass(cls, nn.Module) and inspect.signature(cls).parameters.keys() >= NAMED


def _wrong(call: ast.Call) -> str | None:
    owner, _, name = ast.unparse(call.func).rpartition(".")
    if (owner == "torch" and name in FORBIDDEN) or (not owner and name in TYPES):
        return "is of the process's kind"
    if (owner == "torch" and name in FACTORIES) or (owner in ("nn", "torch.nn") and name in _layers()):
        lacking = sorted(NAMED - {keyword.arg for keyword in call.keywords})
        return f"names no {' and no '.join(lacking)}" if lacking else None
    return None


def test_everything_made_says_what_it_is_and_where():
    wrong = []
    for path in FILES:
        name = str(path.relative_to(ROOT))
        for line, call, what in faults(path.read_text(encoding="utf-8")):
            if (name, call) not in EXEMPT:
                wrong.append(f"{name}:{line}: {call} {what}")
    assert not wrong, "\n".join(wrong)


def test_exemptions_are_needed_and_give_a_reason():
    for (name, call), reason in EXEMPT.items():
        assert call in [found for _, found, _ in faults((ROOT / name).read_text(encoding="utf-8"))]
        assert len(reason) > 20


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("torch.zeros(3)", "names no device and no dtype"),
        ("torch.arange(3, device=x.device)", "names no dtype"),
        ("torch.as_tensor(x, dtype=torch.float32)", "names no device"),
        ("torch.rand(3, **options)", "names no device and no dtype"),
        ("nn.Linear(3, 4)", "names no device and no dtype"),
        ("torch.nn.LayerNorm(3, device='cpu')", "names no dtype"),
        ("torch.Tensor([1.0])", "is of the process's kind"),
        ("torch.set_default_dtype(torch.float64)", "is of the process's kind"),
        ("from torch import Tensor, zeros", "is imported by itself, where it cannot be seen"),
        ("from torch.nn import Linear", "is imported by itself, where it cannot be seen"),
        ("from torch import Tensor\nTensor([1.0])", "is of the process's kind"),
        ("import torch as t", "has another name"),
    ],
)
def test_what_is_found(source, what):
    assert [wrong for *_, wrong in faults(source)] == [what]


@pytest.mark.parametrize(
    "source",
    [
        "torch.zeros(3, dtype=torch.bool, device='cpu')",
        "torch.tensor([1.0], device=x.device, dtype=x.dtype)",
        "x.new_zeros(3)",
        "torch.zeros_like(x)",
        "torch.from_numpy(array)",
        "torch.Generator().manual_seed(0)",
        "nn.Linear(3, 4, dtype=torch.float32, device='cpu')",
        "nn.ModuleList([])",
        "nn.Parameter(x)",
        "from torch import Tensor, nn",
        "np.zeros(3)",
    ],
)
def test_what_is_left_alone(source):
    assert faults(source) == []
