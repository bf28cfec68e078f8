"""What a method is shown before, between and inside the layers, and the answers that it gives."""
