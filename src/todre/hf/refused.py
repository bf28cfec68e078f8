"""Architectures that cannot be pruned, each with its reason.

The reasons were read in the source of transformers 5.24.
"""

from __future__ import annotations

_CROSS = "the decoder reads pictures by cross-attention, so its sequence holds no visual tokens"
_ENCODER = "it is an encoder-decoder, and the decoder's own sequence holds no visual tokens"
_QUERIES = (
    "a Q-Former has already read the picture through a few learned queries, and its own generate() hands embeddings "
    "alone to the language model"
)
_INDEX = "its layers attend only to tokens that an index picks, and pruning does not keep that index in step"

REFUSED: dict[str, str] = {
    "apertus1p5": "it came with transformers 5.24, hears as well as sees, and is not verified yet",
    "blip": _CROSS,
    "blip-2": _QUERIES,
    "chameleon": "its model merges pictures inside the decoder, so there is no place between the two to prune at",
    "diffusion_gemma": "it generates by block diffusion with a generate() of its own, not token by token",
    "evolla": "it reads proteins, not pictures",
    "florence2": _ENCODER,
    "fuyu": "its encoder does not say which of the batch's patches belong to which picture",
    "gemma3n": "its last layers read the keys and values of earlier ones, and it keeps several hidden states a token",
    "git": "pictures are put before the text inside the decoder, without visual tokens in the prompt",
    "glm5_next": _INDEX,
    "granite4_vision": "pictures enter at several decoder layers, and before the first there is nothing to choose by",
    "hy_v4_vl": _INDEX,
    "idefics": _CROSS,
    "inkling2": "attention is biased by distance counted in cache slots, which pruning would change",
    "inkling2_loop": "attention is biased by distance counted in cache slots, which pruning would change",
    "inkling_mm_model": "attention is biased by distance counted in cache slots, which pruning would change",
    "instructblip": _QUERIES,
    "instructblipvideo": _QUERIES,
    "kosmos-2": "the decoder itself places the picture's learned queries and adds absolute positions afterwards",
    "kosmos-2.5": "the decoder itself places the picture's learned queries and adds absolute positions afterwards",
    "mistral4": "it is a text-only model; behind mistral3 the same decoder is supported",
    "mistral_large4": _INDEX,
    "mllama": _CROSS,
    "nemotron_h_omni": "its decoder has no rotary positions, and other kinds cannot be kept when tokens leave",
    "pi0": "it is a robot policy without generate()",
    "pix2struct": _ENCODER,
    "pp_formulanet": _ENCODER,
    "qwen4_exp": _INDEX,
    "t5gemma2": _ENCODER,
    "udop": _ENCODER,
    "unlimited_ocr": "its layers keep the prompt and a window of the answer apart, by the prompt's full length",
    "vision-encoder-decoder": _ENCODER,
}
