"""Pictures whose tokens differ from one another, and questions about them."""

import numpy as np
from PIL import Image
from vllm_plugin.with_vllm.engines import Question


def picture(seed, width, height):
    """Blocks of colour with noise."""
    draw = np.random.default_rng(seed)
    blocks = draw.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    whole = np.asarray(Image.fromarray(blocks).resize((width, height), Image.Resampling.NEAREST)).astype(int)
    return Image.fromarray((whole + draw.integers(-30, 30, whole.shape)).clip(0, 255).astype(np.uint8))


WIDE, TALL, SQUARE = picture(0, 70, 40), picture(1, 30, 64), picture(2, 48, 48)
RETAINS = (0.25, 0.1, 5, "all", None)
ONE = [Question((each,), "what is this ?", retain) for each in (WIDE, TALL, SQUARE) for retain in RETAINS]
TWO = [Question((WIDE, SQUARE), "what is this and this ?", retain) for retain in (0.25, 0.1, "all")]
