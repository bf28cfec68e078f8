"""No boxes."""

batched_nms = None
