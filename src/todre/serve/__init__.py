"""An OpenAI-compatible server with both stages, on transformers' own server."""
