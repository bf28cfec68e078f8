"""The image-to-LaTeX model of the package latex-ocr-junia: its encoder with signals, and a fast greedy decoder.

Nothing of the package is copied: its modules are loaded, and run in an order of our own, with a KV cache and whole
batches. `checked` compares both with the package's own functions.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from todre.tensors.attention import AttentionInputs

Crossed = list[tuple[Tensor, Tensor]]
"""Keys and values of the encoder's tokens in each decoder layer, (b, heads, k, c) each."""


@dataclass(frozen=True)
class Block:
    """One layer of a decoder that normalises first."""

    self_norm: nn.Module
    self_attention: nn.MultiheadAttention
    cross_norm: nn.Module
    cross_attention: nn.MultiheadAttention
    feed_norm: nn.Module
    feed: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Decoder:
    """A decoder with cross-attention.

    Attributes:
        blocks: its layers.
        embed: from token ids (b,) and their common position to states (b, d).
        head: from states (b, d) to logits (b, vocabulary).
        bos, eos: token that starts, and that ends a text.
        banned: tokens that are never chosen.
    """

    blocks: Sequence[Block]
    embed: Callable[[Tensor, int], Tensor]
    head: Callable[[Tensor], Tensor]
    bos: int
    eos: int
    banned: tuple[int, ...] = ()

    @torch.no_grad()
    def cross(self, states: Tensor) -> Crossed:
        """Keys and values of encoder states (b, k, d), for each layer."""
        return [_keys_and_values(block.cross_attention, states) for block in self.blocks]

    @torch.no_grad()
    def greedy(self, crossed: Crossed, limits: Sequence[int]) -> list[list[int]]:
        """Tokens of each row by greedy decoding, with the end where one comes.

        Args:
            crossed: what `cross` made of the tokens that are kept; of each row equally many.
            limits: most tokens of each row.
        """
        rows = len(limits)
        own = [_Cache.empty(block.self_attention, rows, max(limits), crossed[0][0]) for block in self.blocks]
        texts: list[list[int]] = [[] for _ in range(rows)]
        number = torch.arange(rows, dtype=torch.int64, device="cpu")
        token, most = torch.full_like(number, self.bos), torch.tensor(limits, dtype=torch.int64, device="cpu")
        going = torch.ones(rows, dtype=torch.bool, device="cpu")
        for position in range(max(limits)):
            logits = self._step(self.embed(token, position)[:, None], position, own, crossed)
            logits[:, list(self.banned)] = -torch.inf
            token = logits.argmax(dim=-1)
            for row, value, live in zip(number.tolist(), token.tolist(), going.tolist(), strict=True):
                if live:
                    texts[row].append(value)
            going = going & (token != self.eos) & (most[number] > position + 1)
            left = going.nonzero().flatten()
            if not len(left):
                break
            if len(left) <= 0.75 * len(going):  # copying the rows that go on costs more than a few that are idle
                number, token, going = number[left], token[left], going[left]
                own = [cache.take(left) for cache in own]
                crossed = [(key[left], value[left]) for key, value in crossed]
        return texts

    def _step(self, x: Tensor, position: int, own: list[_Cache], crossed: Crossed) -> Tensor:
        for block, cache, (key, value) in zip(self.blocks, own, crossed, strict=True):
            attention = block.self_attention
            query, new_key, new_value = (
                _split(part, attention.num_heads)
                for part in functional.linear(
                    block.self_norm(x), attention.in_proj_weight, attention.in_proj_bias
                ).chunk(3, dim=-1)
            )
            keys, values = cache.add(position, new_key, new_value)
            x = x + attention.out_proj(_joined(functional.scaled_dot_product_attention(query, keys, values)))
            attention = block.cross_attention
            d = attention.embed_dim
            query = _split(
                functional.linear(block.cross_norm(x), attention.in_proj_weight[:d], attention.in_proj_bias[:d]),
                attention.num_heads,
            )
            x = x + attention.out_proj(_joined(functional.scaled_dot_product_attention(query, key, value)))
            x = x + block.feed(block.feed_norm(x))
        return self.head(x[:, 0])


@dataclass(frozen=True)
class _Cache:
    key: Tensor
    value: Tensor

    @classmethod
    def empty(cls, attention: nn.MultiheadAttention, rows: int, length: int, like: Tensor) -> _Cache:
        shape = rows, attention.num_heads, length, attention.head_dim
        return cls(like.new_zeros(shape), like.new_zeros(shape))

    def add(self, position: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        self.key[:, :, position], self.value[:, :, position] = key[:, :, 0], value[:, :, 0]
        return self.key[:, :, : position + 1], self.value[:, :, : position + 1]

    def take(self, rows: Tensor) -> _Cache:
        return _Cache(self.key[rows], self.value[rows])


def _split(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _joined(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


def _keys_and_values(attention: nn.MultiheadAttention, states: Tensor) -> tuple[Tensor, Tensor]:
    d = attention.embed_dim
    key, value = functional.linear(states, attention.in_proj_weight[d:], attention.in_proj_bias[d:]).chunk(2, dim=-1)
    return _split(key, attention.num_heads).contiguous(), _split(value, attention.num_heads).contiguous()


@dataclass(frozen=True)
class Encoded:
    """Pictures as the encoder gives them.

    Attributes:
        states: (b, n, d) visual tokens, in raster order.
        attention: queries and keys of each encoder layer.
    """

    states: Tensor
    attention: list[AttentionInputs]


@dataclass(frozen=True)
class Reader:
    """The package's model.

    Attributes:
        model: its module.
        tokenizer: its tokenizer, one token for each character.
        decoder: its decoder, run by us.
        grid: rows and columns of visual tokens.
        longest: most tokens of a text.
    """

    model: Any
    tokenizer: Any
    decoder: Decoder
    grid: tuple[int, int]
    longest: int

    @classmethod
    def load(cls) -> Reader:
        """The model of the installed package; its weights are read as weights alone."""
        package = importlib.import_module("latex_ocr_junia")
        assets = Path(str(package.__file__)).parent / "assets"
        tokenizer = importlib.import_module("latex_ocr_junia.tokenizer").LatexTokenizer.load(assets / "tokenizer.json")
        config = importlib.import_module("latex_ocr_junia.utils").load_model_config(assets / "model_config.json")
        model = importlib.import_module("latex_ocr_junia.model").build_model(config)
        weights = torch.load(assets / "best.pt", map_location="cpu", weights_only=True)
        model.load_state_dict(weights["model_state_dict"])
        model.eval()
        grid = config.image_height // config.patch_size, config.image_width // config.patch_size
        return cls(model, tokenizer, _decoder(model, tokenizer), grid, config.max_length)

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Encoded:
        """Visual tokens of pictures (b, 1, height, width), and attention of each layer."""
        x, seen = self.model.patch_embed(pictures), []
        for block in self.model.encoder_blocks:
            attention = block.attn
            projected = functional.linear(block.norm1(x), attention.in_proj_weight, attention.in_proj_bias)
            query, key, value = (_split(part, attention.num_heads) for part in projected.chunk(3, dim=-1))
            seen.append(AttentionInputs(query, key, attention.head_dim**-0.5))
            x = x + attention.out_proj(_joined(functional.scaled_dot_product_attention(query, key, value)))
            x = x + block.mlp(block.norm2(x))
        return Encoded(self.model.encoder_norm(x), seen)

    def text(self, tokens: Sequence[int]) -> str:
        """The text of decoded tokens."""
        return str(self.tokenizer.decode(tokens))

    @torch.no_grad()
    def checked(self, pictures: Tensor) -> dict[str, Any]:
        """How far our encoder and decoder are from the package's own on some pictures."""
        encoded = self.encode(pictures).states
        error = float((encoded - self.model.encode(pictures)).abs().max())
        ours = self.decoder.greedy(self.decoder.cross(encoded), [self.longest - 1] * len(pictures))
        same = 0
        for picture, mine in zip(pictures, ours, strict=True):
            ids = self.model.generate(picture[None], self.decoder.bos, self.decoder.eos, self.longest, beam_size=1)
            same += ids[0, 1:].tolist() == mine
        return {"pictures": len(pictures), "largest_error_of_states": error, "same_texts": same}


def _decoder(model: Any, tokenizer: Any) -> Decoder:
    blocks = [
        Block(each.self_norm, each.self_attn, each.cross_norm, each.cross_attn, each.ffn_norm, each.ffn)
        for each in model.decoder_blocks
    ]
    parts = model.decoder_embed

    def embed(token: Tensor, position: int) -> Tensor:
        return parts.norm(parts.token_emb(token) + parts.pos_emb.weight[position])

    def head(x: Tensor) -> Tensor:
        return model.lm_head(model.decoder_norm(x))

    return Decoder(blocks, embed, head, tokenizer.bos_id, tokenizer.eos_id, (tokenizer.pad_id, tokenizer.bos_id))
