"""A conversation in the terminal, about pictures that can be added in any turn."""
