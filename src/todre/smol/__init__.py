"""`smol`: a LLaVA-NeXT with a pretrained decoder."""
