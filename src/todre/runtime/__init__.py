"""One forward of the decoder while a method is attached.

Where to look:

* `attachment`: what is put on a model and taken off again; `decoder_forward`: which way each decoder call goes.
* `prompt`, `segments`, `packing`: what a prompt holds, read once on the host; packed samples; the cache.
* `samples`: make the `VisualTokens` of each sample; `selection`: show these to the method, and take its answer.
* `prefill`: select visual tokens before the LLM, and pack the columns that are kept.
* `continuation`, `fast_path`: forwards without pictures on a pruned cache, with and without a step.
* `step`: the state of one forward; `schedule`: after which layers which methods are asked.
* `layer_patches`, `between_layers`, `dropping`, `peek`: ask a method between layers, drop and bring back tokens.
* `incoming_masks`: read the caller's and the model's masks; `layer_masks`: build masks for layers with fewer tokens.
* `positions`, `slot_tables`: positions for the columns that are left, and the cache's slot tables.
* `finish`, `reporting`: put outputs back at their full length, and fill the report.
"""
