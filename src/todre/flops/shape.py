"""The sizes of a model that decide its FLOPs, and the FLOPs of each part.

A multiply-add counts as two FLOPs. Only matrix products are counted (projections, attention's two products,
convolutions as products, heads), as `torch.utils.flop_counter` does; norms, activations, softmax, rotary
embeddings and residual sums are not. Attention counts all pairs of queries and keys: nothing is subtracted for a
causal mask or a sliding window, since the usual kernels are compared in that way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from todre.errors import InvalidValueError


@dataclass(frozen=True)
class Stack:
    """A stack of equal transformer layers.

    Attributes:
        layers: number of layers.
        width: width of the hidden states (d).
        heads: number of query heads.
        kv_heads: number of key and value heads; fewer than `heads` where query heads share them.
        head_dim: width of one head.
        ffn: width of the feed-forward block (m).
        gated: whether the feed-forward block has a gate.
    """

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    gated: bool

    @property
    def ffn_matrices(self) -> int:
        """Matrices of the feed-forward block: 3 with a gate, else 2."""
        return 3 if self.gated else 2

    def linear(self, tokens: int) -> int:
        """FLOPs of one layer's projections over `tokens` tokens.

        The projections are those of queries, keys, values and outputs, and the matrices of the feed-forward block.
        """
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        weights = 2 * self.width * queries + 2 * self.width * keys + self.ffn_matrices * self.width * self.ffn
        return 2 * weights * tokens

    def attention(self, queries: int, keys: int) -> int:
        """FLOPs of one layer's two attention products.

        Args:
            queries, keys: numbers of queries and keys; all pairs are counted.
        """
        return 4 * self.heads * self.head_dim * queries * keys


@dataclass(frozen=True)
class VisionTower:
    """A vision encoder. All layers count, even those the language model ignores.

    Attributes:
        stack: the transformer layers of the encoder.
        patch_values: numbers in one patch (channels × height × width × frames).
        patches: patches per tile; None where the tower takes pictures of any size.
        extra_tokens: number of further tokens per tile: [CLS] and registers.
        window: patches per attention window outside the layers of full attention, or None; windows cut by the picture's
            edge count as whole windows.
        full_layers: number of layers with full attention, if the other layers attend within windows.
    """

    stack: Stack
    patch_values: int
    patches: int | None
    extra_tokens: int = 0
    window: int | None = None
    full_layers: int = 0

    def flops(self, patches: int) -> int:
        """FLOPs of one tile of `patches` patches, the patch embedding included."""
        tokens = patches + self.extra_tokens
        embedding = 2 * patches * self.patch_values * self.stack.width
        full = self.stack.layers if self.window is None else self.full_layers
        attention = full * self.stack.attention(tokens, tokens)
        if self.window is not None:
            attention += (self.stack.layers - full) * self.stack.attention(tokens, min(self.window, tokens))
        return embedding + self.stack.layers * self.stack.linear(tokens) + attention

    def shortened(self, patches: int, layers: Sequence[Sequence[tuple[int, int]]]) -> int:
        """FLOPs of a tower whose layers ran on fewer tokens.

        The patch embedding still runs on all patches.

        Args:
            patches: number of patches of all tiles or pictures together.
            layers: for each layer, pairs (tokens in a sequence, number of such sequences), class tokens included.

        Raises:
            InvalidValueError: `layers` does not hold one entry for each layer, or a number is out of range.
        """
        if len(layers) != self.stack.layers:
            raise InvalidValueError(
                f"tower_tokens holds {len(layers)} layers, but the vision tower has {self.stack.layers}; "
                "give the tokens of each."
            )
        total = 2 * patches * self.patch_values * self.stack.width
        for layer in layers:
            for tokens, sequences in layer:
                tokens, sequences = _size("tower_tokens", tokens), _size("tower_tokens", sequences)
                total += sequences * (self.stack.linear(tokens) + self.stack.attention(tokens, tokens))
        return total


@dataclass(frozen=True)
class Projector:
    """The matrices between tower and language model.

    Attributes:
        matrices: (inputs, outputs) of each matrix, in order.
        merge: number of patches of a tile that go into one run of the matrices.
        extra_tokens: number of the tower's extra tokens per tile that are projected too.
    """

    matrices: tuple[tuple[int, int], ...]
    merge: int = 1
    extra_tokens: int = 0

    def flops(self, patches: int) -> int:
        """FLOPs for one tile of `patches` patches."""
        return 2 * (patches // self.merge + self.extra_tokens) * sum(wide * tall for wide, tall in self.matrices)


@dataclass(frozen=True)
class ModelShape:
    """A vision-language model, or a language model alone.

    Attributes:
        name: name of the model, for messages.
        decoder: the language model's layers.
        vocabulary: number of entries in the vocabulary.
        vision, projector: vision tower and projector; None for a language model alone.
    """

    name: str
    decoder: Stack
    vocabulary: int
    vision: VisionTower | None = None
    projector: Projector | None = None

    def tile_patches(self, tiles: int | Sequence[int]) -> list[int]:
        """Numbers of patches, one for each tile or picture.

        Args:
            tiles: number of tiles. For towers that take any size, the number of patches of each picture.

        Raises:
            InvalidValueError: a number is out of range, or does not fit the tower.
        """
        if not isinstance(tiles, int):
            return [_size("tiles", patches) for patches in tiles]
        if _size("tiles", tiles) == 0:
            return []
        if self.vision is None:
            raise InvalidValueError(f"tiles is {tiles}, but {self.name} has no vision tower; use tiles=0.")
        if self.vision.patches is None:
            raise InvalidValueError(
                f"tiles is {tiles}, but the vision tower of {self.name} takes pictures of any size; "
                "give a list with the number of patches of each picture."
            )
        return [self.vision.patches] * tiles

    def per_layer(self, tokens: int | Sequence[int], name: str) -> list[int]:
        """Numbers of tokens, one for each decoder layer.

        Args:
            tokens: one number for all layers, or one for each layer.
            name: name of the argument in messages.

        Raises:
            InvalidValueError: a number is out of range, or there are too few or too many numbers.
        """
        if isinstance(tokens, int):
            return [_size(name, tokens)] * self.decoder.layers
        counts = [_size(name, value) for value in tokens]
        if len(counts) != self.decoder.layers:
            raise InvalidValueError(
                f"{name} holds {len(counts)} numbers, but {self.name} has {self.decoder.layers} decoder layers; "
                "give one number, or one for each layer."
            )
        return counts


def _size(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidValueError(f"{name} must hold whole numbers of at least 0, got {value!r}; change it.")
    return value


def _clip_l(width: int) -> tuple[VisionTower, Projector]:
    """CLIP ViT-L/14 at 336 pixels, with LLaVA's two-layer projector to `width`.

    The tower has 576 patches and a class token.
    """
    tower = VisionTower(Stack(24, 1024, 16, 16, 64, 4096, gated=False), 3 * 14 * 14, 576, extra_tokens=1)
    return tower, Projector(((1024, width), (width, width)))


_VICUNA_7B = Stack(32, 4096, 32, 32, 128, 11008, gated=True)
_VICUNA_13B = Stack(40, 5120, 40, 40, 128, 13824, gated=True)
_QWEN_25_VL_VISION = Stack(32, 1280, 16, 16, 80, 3420, gated=True)

PRESETS: dict[str, ModelShape] = {
    shape.name: shape
    for shape in (
        ModelShape("llava-1.5-7b", _VICUNA_7B, 32064, *_clip_l(4096)),
        ModelShape("llava-1.5-13b", _VICUNA_13B, 32064, *_clip_l(5120)),
        ModelShape("llava-next-7b", _VICUNA_7B, 32064, *_clip_l(4096)),
        ModelShape("llava-next-13b", _VICUNA_13B, 32064, *_clip_l(5120)),
        ModelShape(
            "qwen2.5-vl-7b",
            Stack(28, 3584, 28, 4, 128, 18944, gated=True),
            152064,
            VisionTower(_QWEN_25_VL_VISION, 2 * 3 * 14 * 14, None, window=64, full_layers=4),
            Projector(((5120, 5120), (5120, 3584)), merge=4),
        ),
    )
}
