"""A trained glimpse in one safetensors file, tied to the model it was trained on."""

from __future__ import annotations

import functools
import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from todre.errors import TodreError, UnsupportedModelError
from todre.files import Kind, atomic_path, opened, parsed_text, printable
from todre.files.names import reason
from todre.files.shapes import POSITIVE, TEXT
from todre.methods.glimpse.predictor import Glimpse, Shape

_SKETCH = "sketch"
_FACTS = "facts"
"""Key of the only metadata entry; several entries would have no fixed order."""
_FIELDS = {field.name: POSITIVE for field in fields(Shape)}
WEIGHTS = Kind(
    "give a file that `python -m todre.glimpse.train` wrote", {"model": TEXT, "shape": _FIELDS}, most=64 * 2**20
)
"""Description of a weights file, for messages about files of another kind."""
_CHANNELS = 4
_NEAR = 1e-2


def shipped_weights() -> Path:
    """Path of the weights that ship with the package, trained for its own model.

    `python -m todre.glimpse.train` made them.
    """
    return Path(__file__).parent / "shipped.safetensors"


@dataclass(frozen=True)
class Trained:
    """A trained glimpse, and the means to recognise its model.

    Attributes:
        glimpse: the network, in evaluation mode, float32.
        model: SHA-256 over config and weights of the model that the glimpse was trained on.
        sketch: (vocabulary, 4) float32, the first channels of that model's word embeddings. A method sees no
            files, so it recognises the model by text embeddings at the decoder's entry, which must be among these.
    """

    glimpse: Glimpse
    model: str
    sketch: Tensor

    def check_depth(self, n_layers: int) -> None:
        """Check that the decoder has as many layers as the model trained on.

        Raises:
            UnsupportedModelError: the decoder has more or fewer layers.
        """
        if n_layers != self.glimpse.shape.n_layers:
            raise self._another(f"has {n_layers} decoder layers instead of {self.glimpse.shape.n_layers}")

    def check_embeddings(self, words: Tensor) -> None:
        """Check that `words` (n, width) are word embeddings of the model trained on.

        Raises:
            UnsupportedModelError: a row is no word embedding of that model.
        """
        width = self.glimpse.shape.width
        if words.shape[1] != width:
            raise self._another(f"has {words.shape[1]} channels instead of {width}")
        sketch = self.sketch.to(words.device)
        distance = (words[:, :_CHANNELS].float().unique(dim=0)[:, None] - sketch[None]).abs().amax(dim=-1)
        if bool((distance.amin(dim=1) > _NEAR * sketch.abs().max()).any()):
            raise self._another("embeds its words otherwise")

    def _another(self, why: str) -> UnsupportedModelError:
        return UnsupportedModelError(
            f"These glimpse weights were trained on the model with SHA-256 {self.model[:12]}…, and this one {why}; "
            "train a glimpse on it and give its file as weights=PATH, or use a training-free method such as fastv."
        )


def sketch_of(embeddings: Tensor) -> Tensor:
    """`Trained.sketch` of a table of word embeddings (vocabulary, width)."""
    return embeddings.detach().float()[:, :_CHANNELS].cpu().contiguous()


def save_trained(path: Path, trained: Trained) -> None:
    """Write a glimpse to a file; equal weights give equal bytes.

    The file is written under a temporary name and renamed.
    """
    tensors = {name: value.detach().contiguous() for name, value in trained.glimpse.state_dict().items()}
    facts = {"model": trained.model, "shape": asdict(trained.glimpse.shape)}
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(tensors | {_SKETCH: trained.sketch}, {_FACTS: json.dumps(facts)}))


def load_trained(path: str | None = None, device: torch.device | None = None) -> Trained:
    """Read a file that `save_trained` wrote, once per device unless the file changes.

    Args:
        path: the file; None for the shipped weights.
        device: where to put the glimpse; None for the CPU.

    Raises:
        InvalidValueError: the file does not exist, or holds no glimpse.
    """
    file = shipped_weights() if path is None else Path(path)
    with opened(file, WEIGHTS) as stream:
        changed = os.fstat(stream.fileno()).st_mtime_ns
    try:
        return _load(file, changed, device or torch.device("cpu"))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        if isinstance(error, TodreError):
            raise
        raise WEIGHTS.wrong(file, f"holds no weights of a glimpse ({reason(error)})") from error


@functools.lru_cache(maxsize=8)
@torch.inference_mode(False)  # cached tensors may be used outside of that mode
def _load(file: Path, changed: int, device: torch.device) -> Trained:
    with safe_open(file, framework="pt") as opened:
        facts = parsed_text((opened.metadata() or {})[_FACTS], f"The description inside {printable(file)}", WEIGHTS)
        shape = Shape(**facts["shape"])
        sizes = {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
        sketch_size = sizes.pop(_SKETCH)
        if sizes != _sizes(shape) or len(sketch_size) != 2 or sketch_size[1] != _CHANNELS:
            raise ValueError("its tensors have other sizes than it says")
        tensors = {name: opened.get_tensor(name) for name in sizes}
        sketch = opened.get_tensor(_SKETCH)
    if not all(value.isfinite().all() for value in (*tensors.values(), sketch)):
        raise ValueError("its numbers cannot be used")
    with torch.random.fork_rng(devices=[]):  # its initial weights are drawn, and then replaced
        glimpse = Glimpse(shape)
    glimpse.load_state_dict(tensors)
    return Trained(glimpse.eval().requires_grad_(False).to(device), facts["model"], sketch)


def _sizes(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Sizes of a glimpse's tensors by name; no tensor is made."""
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in Glimpse(shape).state_dict().items()}


def frozen_copy(glimpse: Glimpse) -> Glimpse:
    """A copy of the glimpse without gradients, in evaluation mode."""
    copy = Glimpse(glimpse.shape)
    copy.load_state_dict({name: torch.clone(value) for name, value in glimpse.state_dict().items()})
    return copy.eval().requires_grad_(False)
