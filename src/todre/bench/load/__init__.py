"""Load: servers with an OpenAI-compatible API, under equal requests, side by side.

A module belongs here if it starts a server, asks it, or measures its answers. It knows servers by their HTTP interface
alone: a `Configuration` says how one is started and what its requests add. `run` drives all of them in turn and ends in
one JSON document.
"""
