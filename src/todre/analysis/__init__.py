"""Instruments of `todre analyze`: why pruning works on a model, or does not.

A module belongs here if it measures a property of an unpruned or pruned model, question by question: `migration`
(attention by layer and direction), `horizon` (the layer after which visual tokens carry no information), `redundancy`
(whether the paper's two redundancies are independent), `selections` (what methods keep, side by side) and `calibrate`
(where stage 2 may drop). `results` runs them batch by batch and resumes; `questions` says what is asked. `animations`
follows one picture through a choice, through falling budgets, or through the layers.
"""
