"""Answer many questions under many methods, compare them with intervals, and describe the model that ships.

`python -m todre.evaluate.heldout` compares methods on held-out scenes; `python -m todre.evaluate.card` makes the card
of the shipped model. Both answer through `runner`, which resumes where it was stopped.
"""
