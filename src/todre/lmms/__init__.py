"""lmms-eval, a harness of public benchmarks, on models that todre prunes: `lmms-eval --model todre …`.

`command` builds its command line and `read_results` reads what it wrote; neither needs lmms-eval. The model itself is
`todre.lmms.model`, which lmms-eval finds by an entry point; nothing else here or in todre imports lmms-eval.
"""

from __future__ import annotations

from todre.lmms.launch import command
from todre.lmms.results import read_results, read_samples

__all__ = ["command", "read_results", "read_samples"]
