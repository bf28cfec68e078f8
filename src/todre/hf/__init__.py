"""Everything todre knows about transformers: its keywords, classes and families.

Other packages spell no keyword or private name of transformers; they call this package instead. Where to look:

* `versions`, `keywords`: what is imported from transformers, and the names of its arguments.
* `calls`, `layer_calls`, `tower_calls`: read and rewrite the calls of a model, a decoder layer, a vision tower.
* `cache_layers`: the KV cache layers that hold fewer slots than columns; `cache`: put them in, find and check them.
* `families`: facts per model family, where a new one is one row; `refused`: why other families are not taken.
* `leading_tokens`: facts per vision tower.
* `encoding`, `visual_layouts`, `clip_layouts`, `anyres`: how a tower's tokens become visual tokens.
* `decoder`, `model_parts`, `checkpoint_facts`: a model's parts, layer types and outputs; facts from a config.
* `attention_tap`: reads the queries and keys of an attention module while it runs.
* `wrappers`, `running_forwards`: patch one instance and take the patch out; PEFT, FSDP and torch.compile wrappers.
* `contract`: checks at attach and after each prefill that transformers works as described here.
* `decoder_runs`, `picture_features`, `tower_features`: run parts of a model by themselves.
* `picture_rules`, `greedy_decoding`: rules of image processors, and settings of greedy decoding.
"""
