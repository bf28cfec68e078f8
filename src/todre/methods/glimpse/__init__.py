"""The trained predictor of GlimpsePrune: its network and its weights.

The method itself is `methods/glimpseprune.py`; its training is `todre.glimpse`.
"""
