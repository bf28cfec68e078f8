"""Samples packed in a prompt's rows, and the cache that a prompt gets."""

from __future__ import annotations

from todre.errors import UnsupportedInputError
from todre.hf import cache as kv
from todre.hf.calls import DecoderCall
from todre.hf.decoder import CHUNKED, SLIDING, Decoder
from todre.hf.keywords import FLASH_BOUNDS, USE_CACHE
from todre.hf.layer_calls import packed_bounds
from todre.hf.model_parts import attention_backend, config_caches
from todre.hf.versions import DynamicCache
from todre.runtime.prompt import Prompt
from todre.runtime.segments import Segments, segments_of


def packed_samples(call: DecoderCall, prompt: Prompt, decoder: Decoder) -> Segments | None:
    """Samples packed in the rows of `call`; None if each row is one sample.

    Samples are kept apart only where there is no padding and no cache.

    Raises:
        UnsupportedInputError: samples are packed where they could not be kept apart, or with a cache.
    """
    flash, bounds = "flash" in attention_backend(decoder.config), packed_bounds(call.rest)
    if prompt.past or not prompt.hides_nothing:
        if bounds is not None:
            raise UnsupportedInputError(
                f"Bounds of packed samples ({FLASH_BOUNDS}) came with a filled cache or a mask that hides columns, "
                "which say otherwise; pass the bounds alone, or a batch with a mask of padding."
            )
        return None
    # `create_causal_mask` looks for packed samples in positions only without a mask and a cache. Flash attention's
    # integration does so too where the mask hides nothing, and also with a cache (seen in 5.24).
    if prompt.mask is not None and bounds is None and not flash:
        return None
    cached = call.cache is not None or makes_cache(call, decoder)
    segments = segments_of(call, prompt.positions, cached, decoder.text_first, flash)
    if segments is not None and cached:
        raise UnsupportedInputError(
            f"{len(segments.valid)} samples are packed in {segments.rows} rows, which no cache can go on with; "
            f"pass {USE_CACHE}=False, or a batch with a mask of padding."
        )
    return segments


def makes_cache(call: DecoderCall, decoder: Decoder) -> bool:
    """True if the decoder makes a cache for a `call` without one."""
    wants_cache = config_caches(decoder.config) if call.caches is None else call.caches
    return wants_cache and not decoder.recomputes


def prepare_cache(call: DecoderCall, decoder: Decoder, reduces: bool) -> None:
    """Make the cache that the decoder would make, and check that it can be shortened.

    Args:
        call: the decoder's call; its cache is set if the decoder would make one.
        decoder: the decoder's facts.
        reduces: True if tokens may leave inside the decoder.

    Raises:
        UnsupportedInputError: the cache is static, and tokens may leave inside the decoder or flash attention reads it;
            or it is of another kind that cannot be shortened.
    """
    # Decoders make a DynamicCache of their config themselves (seen in 5.24); made here, it can get slot tables first.
    if call.cache is None and makes_cache(call, decoder):
        call.cache = DynamicCache(config=decoder.config)
    cache = call.cache
    if cache is None:
        return
    kv.check_cache(cache, tuple(kind in (SLIDING, CHUNKED) for kind in decoder.layer_kinds))
    static = any(kv.is_static(layer) for layer in cache.layers)
    # It cuts the buffers at the mask's width, which counts logical columns (integrations.flash_attention, 5.24).
    if static and "flash" in attention_backend(decoder.config):
        raise UnsupportedInputError(
            "Flash attention reads a static cache by the width of the mask, which a shorter prompt does not have; use "
            "a dynamic cache, or attn_implementation='sdpa'."
        )
    if reduces and static:
        raise UnsupportedInputError(
            "A static cache cannot get shorter inside the decoder, so stage 2 would save nothing there; "
            "use stages=(1,), or a dynamic cache."
        )
