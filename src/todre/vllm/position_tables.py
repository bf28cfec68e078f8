"""The tables of rotations in vLLM's decoders, which end at a largest position.

Pruned prompts are short, but their tokens keep the positions of the unpruned prompt, which may lie behind the last one
that an unpruned prompt could have. vLLM makes its tables four times as long for its own pruning of clips.
"""

from __future__ import annotations

from torch import nn
from vllm.model_executor.layers.rotary_embedding.mrope import MRotaryEmbedding

from todre.errors import UnsupportedInputError

TABLE_FACTOR = 4
"""Length of a table in lengths of the longest prompt."""


def widened(decoder: nn.Module, longest: int) -> int:
    """Make a decoder's tables longer than the longest prompt.

    Args:
        decoder: vLLM's language model, just built.
        longest: positions that the model was made for.

    Returns:
        The number of positions in the shortest table.
    """
    tables = [module for module in decoder.modules() if isinstance(module, MRotaryEmbedding)]
    for module in tables:
        # With YaRN the length takes part in the frequencies, so such tables stay as they are.
        if len(module.cos_sin_cache) < TABLE_FACTOR * longest and module.scaling_factor is None:
            module.max_position_embeddings = module.cache_max_position_num = TABLE_FACTOR * longest
            module.cos_sin_cache = module._compute_cos_sin_cache().to(module.cos_sin_cache)
    return min(len(module.cos_sin_cache) for module in tables)


def check_in_table(length: int, table: int) -> None:
    """Check that a prompt's positions are in the table.

    Args:
        length: the prompt's last position, plus one.
        table: positions in the table.

    Raises:
        UnsupportedInputError: they are not.
    """
    if length > table:
        raise UnsupportedInputError(
            f"A prompt's last token would have position {length - 1:,} before pruning, and the model's table of "
            f"rotations ends at {table - 1:,}; send fewer or smaller pictures."
        )
