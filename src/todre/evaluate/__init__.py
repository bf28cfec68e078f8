"""Evaluation: many questions under many methods, scored and compared.

A module belongs here if it makes tasks, answers them, marks answers, or computes intervals and comparisons.
`engine` runs `todre eval` on any tasks (`tasks/`, marked by `metrics/`) with a working file (`journal`) that survives a
kill. `python -m todre.evaluate.heldout` compares methods on held-out scenes, and `python -m todre.evaluate.card` makes
the shipped model's card; both answer through `runner`. Commands and printed tables are in `todre.cli`.
"""
