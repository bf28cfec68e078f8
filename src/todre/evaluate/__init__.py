"""Answer many questions under many methods, compare them with intervals, and describe the model that ships.

`python -m todre.evaluate.heldout` compares methods on held-out scenes; `python -m todre.evaluate.card` makes the card
of the shipped model; both answer through `runner`, which resumes where it was stopped. `todre eval` answers any tasks
(`tasks/`, marked by `metrics/`) through `engine`, with a working file (`journal`) that survives being killed.
"""
