"""todre: training-free visual token pruning for Hugging Face vision-language models."""
