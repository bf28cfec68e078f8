"""Measure what pruning saves, and how far that is from a prompt that never had the dropped tokens.

A run measures subjects (no pruning, methods, and the oracle of each) under conditions (`Cell`: batch, lengths, backend,
threads), interleaved, and ends in one JSON document. `todre bench` is its command.
"""
