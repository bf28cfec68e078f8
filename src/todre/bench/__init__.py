"""Benchmarks: what pruning saves, and how near the saving is to the possible one.

A module belongs here if it measures time, memory or FLOPs. A run of `todre bench` measures subjects (no pruning,
methods, and each method's oracle: a prompt that never had the dropped tokens) under conditions (`Cell`: batch, lengths,
backend, threads), interleaved, and ends in one JSON document.
"""
