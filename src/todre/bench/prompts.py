"""Prompts to measure with: text, a picture for each row, and more text."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from todre.bench.presets import Preset
from todre.errors import InvalidValueError
from todre.hf.anyres import crop_grid
from todre.hf.decoder_runs import numbers_axes
from todre.hf.families import family_of
from todre.hf.keywords import IDS, IMAGE_GRIDS, MASK, PIXELS, SIZES
from todre.hf.model_parts import text_config
from todre.hf.picture_features import picture_features
from todre.methods.base import Method, NoPruning
from todre.processing.downsampling import Shower, check_shown

if TYPE_CHECKING:
    from todre.loading.model import Loaded

COLUMNS = (IDS, MASK, "mm_token_type_ids", "token_type_ids")
"""Inputs with one entry for each column; all other inputs are about pictures."""
QUESTION = "What is in the picture?"
_WORDS = 10
"""First token id that stands for plain text in presets."""


@dataclass(frozen=True)
class Prompt:
    """A batch of prompts, as arguments of `generate`.

    Attributes:
        inputs: keyword arguments, on the model's device.
        visual: (b, q) bool, the columns of visual tokens.
    """

    inputs: Mapping[str, Tensor]
    visual: Tensor

    @property
    def rows(self) -> int:
        """Number of rows of the batch."""
        return int(self.visual.shape[0])

    @property
    def pictures(self) -> dict[str, Tensor]:
        """The inputs that `get_image_features` takes."""
        return {name: value for name, value in self.inputs.items() if name not in COLUMNS}

    @property
    def visual_tokens(self) -> int:
        """Number of visual tokens of a row, the same in all rows."""
        return int(self.visual[0].sum())

    @property
    def text_tokens(self) -> int:
        """Number of tokens of a row that are not visual."""
        return int(self.visual.shape[1]) - self.visual_tokens

    def first(self) -> dict[str, Tensor]:
        """Inputs of the first row that say how large its picture is."""
        rows = self.rows
        sized = (IMAGE_GRIDS, SIZES)
        return {name: value[: len(value) // rows] for name, value in self.inputs.items() if name in sized}


def random_prompt(model: Any, preset: Preset, rows: int, text_tokens: int, seed: int = 0) -> Prompt:
    """A prompt for a preset's model: random pixels, with half of the text before them.

    Args:
        model: made from `preset`.
        preset: gives the size of the picture.
        rows: number of prompts in the batch; all different, all equally long.
        text_tokens: number of text tokens of each row, markers around the picture included.
        seed: seed of pixels and text.

    Raises:
        InvalidValueError: `text_tokens` is less than the markers and one word need.
    """
    generator = torch.Generator().manual_seed(seed)
    pixels, markers = _PIXELS[model.config.model_type](model.config, preset.picture, rows, generator)
    inputs = {name: _placed(value, model) for name, value in pixels.items()}
    count = _count(model, inputs, rows)
    before, after = markers
    words = text_tokens - len(before) - len(after)
    if words < 2:
        raise InvalidValueError(
            f"A prompt of {text_tokens} text tokens leaves no word beside the picture; "
            f"give at least {len(before) + len(after) + 2}."
        )
    ids = torch.randint(_WORDS, _last_word(model), (rows, words), generator=generator, dtype=torch.int64, device="cpu")
    middle = [*before, *[_image_token(model)] * count, *after]
    half = words // 2
    marked = torch.tensor([middle], dtype=torch.int64, device="cpu").expand(rows, -1)
    ids = torch.cat([ids[:, :half], marked, ids[:, half:]], dim=1)
    return _prompt(model, ids.to(model.device), inputs)


def checkpoint_prompt(
    loaded: Loaded,
    picture: tuple[int, int],
    rows: int,
    text_tokens: int,
    seed: int = 0,
    method: Method | None = None,
) -> Prompt:
    """A prompt for a checkpoint, by its processor, about a picture of noise.

    Args:
        loaded: model and processor.
        picture: (height, width) in pixels.
        rows: number of prompts in the batch; all are the same.
        text_tokens: length of the text, reached by repeating its last word; a longer template stays as it is.
        seed: seed of the picture.
        method: shows the picture in another size, if it resizes pictures.
    """
    import numpy as np
    from PIL import Image

    from todre.running import build_inputs

    noise = np.random.default_rng(seed).integers(0, 256, (*picture, 3), dtype=np.uint8)
    shown = Shower(loaded.processor, loaded.model.config).show(method or NoPruning(), [Image.fromarray(noise)])
    processed, _ = build_inputs(loaded, shown.pictures, QUESTION)
    check_shown(loaded.model.config, shown, list(processed[IDS]))
    one = {name: value for name, value in processed.items() if isinstance(value, Tensor)}
    visual = one[IDS][0] == _image_token(loaded.model)
    missing = text_tokens - int((~visual).sum())
    if missing > 0:
        after = int(visual.nonzero().max()) + 1
        place = min(after + 1, len(visual) - 1)
        one |= {name: _longer(one[name], place, missing) for name in COLUMNS if name in one}
    repeated = {name: torch.cat([value] * rows) for name, value in one.items()}
    pictures = {name: value for name, value in repeated.items() if name not in COLUMNS}
    return _prompt(loaded.model, repeated[IDS], pictures)


def _longer(values: Tensor, place: int, more: int) -> Tensor:
    """(1, q + more) values, with the entry at `place` repeated `more` times."""
    return torch.cat([values[:, :place], values[:, place : place + 1].expand(-1, more), values[:, place:]], dim=1)


def _prompt(model: Any, ids: Tensor, pictures: Mapping[str, Tensor]) -> Prompt:
    visual = ids == _image_token(model)
    columns = {IDS: ids, MASK: torch.ones_like(ids)}
    if numbers_axes(model):
        columns["mm_token_type_ids"] = visual.int()
    return Prompt({**columns, **pictures}, visual)


def _placed(value: Tensor, model: Any) -> Tensor:
    return value.to(model.device, model.dtype if value.is_floating_point() else None)


def _image_token(model: Any) -> int:
    token = family_of(model).token_id(model.config, "image")
    if token is None:
        raise InvalidValueError(f"{model.config.model_type} takes no pictures; measure a model that does.")
    return int(token)


def _last_word(model: Any) -> int:
    """First token id, from `_WORDS` on, that is no plain text in a preset."""
    ends = [text_config(model).vocab_size, model.config.image_token_id]
    return min(int(end) for end in ends if end > _WORDS)


@torch.inference_mode()
def _count(model: Any, pictures: Mapping[str, Tensor], rows: int) -> int:
    """Number of visual tokens of each row, counted by the model itself."""
    features = picture_features(model, pictures)
    entries = features if isinstance(features, list | tuple) else [features]
    return sum(int(one.shape[:-1].numel()) for one in entries) // rows


Pixels = tuple[dict[str, Tensor], tuple[list[int], list[int]]]
"""Inputs for the pictures, and marker tokens before and after each picture."""


def _side(config: Any) -> int:
    size = config.vision_config.image_size
    return int(size if isinstance(size, int) else size[0])


def _pixels(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")


def _one_tile(config: Any, picture: tuple[int, int], rows: int, generator: torch.Generator) -> Pixels:
    side = _side(config)
    return {PIXELS: _pixels((rows, 3, side, side), generator)}, ([], [])


def _any_res(
    config: Any, picture: tuple[int, int], rows: int, generator: torch.Generator, counted: bool = False
) -> Pixels:
    side = _side(config)
    across, down = crop_grid(picture, config)
    tiles = 1 + across * down
    inputs = {
        PIXELS: _pixels((rows, tiles, 3, side, side), generator),
        SIZES: torch.tensor([picture] * rows, dtype=torch.int64, device="cpu"),
    }
    if counted:
        inputs["batch_num_images"] = torch.ones(rows, dtype=torch.long, device="cpu")
    return inputs, ([], [])


def _tiles(config: Any, picture: tuple[int, int], rows: int, generator: torch.Generator) -> Pixels:
    side = _side(config)
    tiles = 1 + (picture[0] // side) * (picture[1] // side)
    return {PIXELS: _pixels((rows * tiles, 3, side, side), generator)}, ([], [])


def _patches(config: Any, picture: tuple[int, int], rows: int, generator: torch.Generator) -> Pixels:
    vision = config.vision_config
    height, width = (side // vision.patch_size for side in picture)
    values = 3 * vision.temporal_patch_size * vision.patch_size**2
    inputs = {
        PIXELS: _pixels((rows * height * width, values), generator),
        IMAGE_GRIDS: torch.tensor([[1, height, width]] * rows, dtype=torch.int64, device="cpu"),
    }
    return inputs, ([config.vision_start_token_id], [config.vision_end_token_id])


_PIXELS: dict[str, Callable[[Any, tuple[int, int], int, torch.Generator], Pixels]] = {
    "llava": _one_tile,
    "llava_next": _any_res,
    "llava_onevision": functools.partial(_any_res, counted=True),
    "internvl": _tiles,
    "qwen2_5_vl": _patches,
}
