"""Names of transformers' arguments and of its processors' outputs, spelled once.

Every other package imports these constants; `make lint` refuses the names themselves outside `hf/`. So if a release
renames an argument, as 5.24 renamed the KV cache's, only this file changes.
"""

from __future__ import annotations

# Arguments of models and decoders.
IDS = "input_ids"
EMBEDS = "inputs_embeds"
MASK = "attention_mask"
POSITIONS = "position_ids"
CACHE_NAMES = ("cache", "past_key_values")
"""Names of the KV cache argument in forwards: since 5.24, and before 5.24."""
USE_CACHE = "use_cache"
LOGITS_TO_KEEP = "logits_to_keep"
ALL_STATES = "output_hidden_states"
ENCODED = "mm_encoder_outputs"
DEEPSTACK = "deepstack_visual_embeds"

MASKS_FOR_GENERATE = "create_masks_for_generate"
"""The method of a model by which `generate` builds masks for static caches."""

# Arguments of layers and towers.
STATES = "hidden_states"
ROTARY = "position_embeddings"
BOUNDS = "cu_seqlens"
LONGEST = "max_seqlen"
GRIDS = "grid_thw"
WINDOWS = "window_index"

FLASH_BOUNDS = "cu_seq_lens_q"
"""Bounds of packed samples, one of transformers' FlashAttentionKwargs."""

# What processors return for pictures and clips.
PIXELS = "pixel_values"
VIDEO_PIXELS = "pixel_values_videos"
SIZES = "image_sizes"
IMAGE_GRIDS = "image_grid_thw"
VIDEO_GRIDS = "video_grid_thw"
