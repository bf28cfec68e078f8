"""Answer many rows of a file, resumably: one process, several, Ray, an endpoint.

`sources` reads rows as records, and `rows` says what a record asks. `model_answers` answers one with a model in memory,
`endpoint` with a server; `processes` and `on_ray` have several models answer. `lines` writes what was found as a line
of the output, `output` keeps the file so that a kill loses nothing, and `run` puts these together.
"""
