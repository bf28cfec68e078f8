"""Training of `smol`: connector and low-rank updates of a pretrained decoder.

`python -m todre.smol.training` runs it; stages follow each other: `warm` (connector alone), `short` (thumbnails) and
`full` (thumbnail and crops).
"""
