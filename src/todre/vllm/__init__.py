"""Stage 1 in vLLM: a plugin that prunes pictures by todre's own selection.

vLLM finds `todre.vllm.plugin.register` by an entry point. A served model is pruned if its config names one of the
architectures in `todre.vllm.families`; all others are served as without todre. `todre vllm-args` prints the flags.
Stage 2 and all else inside the decoder is not possible there.
"""
