"""Instruments: why pruning works on a model, or does not.

`migration` (attention by layer and direction), `horizon` (from which layer on visual tokens say nothing), `redundancy`
(are the paper's two redundancies independent), `kept` (what methods keep, side by side) and `calibrate` (where stage 2
may drop). Each measures questions one batch at a time, resumes where it was stopped, and ends in one JSON document and
one figure: `todre analyze`.
"""
