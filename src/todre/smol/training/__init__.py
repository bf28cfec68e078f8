"""Training of `smol`: connector and low-rank updates of a pretrained decoder.

`python -m todre.smol.training` runs it. Stages follow each other: `warm` (connector alone), `short` (thumbnails),
`places` (a louder code of rows and columns) and `full` (thumbnail and crops).
"""
