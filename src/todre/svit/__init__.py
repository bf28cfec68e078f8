"""SViT's gates (arXiv 2306.07050) on the shipped model's vision tower.

The package is an experiment that no method uses: `gate` defines the gates, `experiment` trains and measures them.
`docs/trained.md` reports the results.
"""
