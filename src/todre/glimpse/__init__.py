"""GlimpsePrune's learned glimpse (arXiv 2508.01548): labelled, trained, measured."""
