"""The vision tower: watch what it encodes, and run its later layers on fewer tokens."""
