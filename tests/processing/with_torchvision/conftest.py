"""These tests compare with transformers' own processors, beside a torchvision (`make test-torchvision`).

Everything else is tested without one.
"""

from processing.with_torchvision.shim import import_torchvision

import_torchvision()
