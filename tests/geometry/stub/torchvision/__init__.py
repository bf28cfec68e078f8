"""Stands in for torchvision where it is not installed: the few functions that processors of transformers call.

Only a process of its own sees it (`geometry.stock`), so that families whose processors need torchvision, and all video
processors, can be compared with our geometry in any environment. It resizes as torchvision does: by torch itself.
"""

__version__ = "0.26.0"
