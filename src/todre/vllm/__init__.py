"""Stage 1 in vLLM: a plugin that prunes pictures by todre's own selection."""
