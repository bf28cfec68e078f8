"""Pure tensor functions and records: what is in which column, and attention without an attention map."""
