"""GlimpsePrune's learned glimpse (arXiv 2508.01548) on the shipped model.

A module belongs here if it labels, trains or measures the predictor. The method itself, and its
predictor, are in `todre.methods`.
"""
