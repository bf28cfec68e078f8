"""One file per paper; importing them needs no torch."""
