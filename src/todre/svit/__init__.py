"""An experiment: SViT's gates (arXiv 2306.07050) on the shipped model's vision tower; see `docs/trained.md`."""
