"""The trained predictor of GlimpsePrune: its network and its weights."""
