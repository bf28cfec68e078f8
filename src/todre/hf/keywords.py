"""Names of transformers' arguments and of what its processors return, spelled once.

Every other room imports these; `make lint` refuses the names themselves outside `hf/`, so that a release that renames
one (5.24 renamed the KV cache's) is followed here alone.
"""

from __future__ import annotations

# Arguments of models and decoders.
IDS = "input_ids"
EMBEDS = "inputs_embeds"
MASK = "attention_mask"
POSITIONS = "position_ids"
CACHE_NAMES = ("cache", "past_key_values")
"""What forwards call their KV cache: since 5.24, and before."""
USE_CACHE = "use_cache"
LOGITS_TO_KEEP = "logits_to_keep"
ENCODED = "mm_encoder_outputs"
DEEPSTACK = "deepstack_visual_embeds"

MASKS_FOR_GENERATE = "create_masks_for_generate"
"""The method by which `generate` lays out masks for static caches."""

# Arguments of layers and towers.
STATES = "hidden_states"
ROTARY = "position_embeddings"
BOUNDS = "cu_seqlens"
LONGEST = "max_seqlen"
GRIDS = "grid_thw"
WINDOWS = "window_index"

FLASH_BOUNDS = "cu_seq_lens_q"
"""Where packed samples begin and end, for flash attention (transformers' FlashAttentionKwargs)."""

# What processors return for pictures and clips.
PIXELS = "pixel_values"
VIDEO_PIXELS = "pixel_values_videos"
SIZES = "image_sizes"
IMAGE_GRIDS = "image_grid_thw"
VIDEO_GRIDS = "video_grid_thw"
