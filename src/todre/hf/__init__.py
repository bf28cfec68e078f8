"""What todre knows of transformers: the keywords of its forwards, and the check that they are still there."""
