"""lmms-eval, a harness of public benchmarks, on models that todre prunes.

`lmms-eval --model todre …` runs the harness: lmms-eval finds `todre.lmms.model` by an entry point, and nothing else in
todre imports lmms-eval. `command` builds the command line of lmms-eval and `read_results` reads its results; neither
needs lmms-eval.
todre's own tasks and their scores belong to `todre.evaluate`.
"""

from __future__ import annotations

from todre.lmms.launch import command
from todre.lmms.results import read_results, read_samples

__all__ = ["command", "read_results", "read_samples"]
