"""Pictures to tensors."""

import numpy as np
import torch


def pil_to_tensor(picture):
    """(channels, height, width), uint8."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()


def to_pil_image(tensor):
    """Not needed here."""
    raise NotImplementedError
