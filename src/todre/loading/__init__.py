"""Loading of models: found, checked, built and put on a device.

A model is a folder, a hub id or a shipped name. Whether its weights fit into memory is checked before anything is
built. Fetching belongs to `todre.hub`, processors to `todre.processing`, and which architectures can be pruned to
`todre.hf`.
"""
