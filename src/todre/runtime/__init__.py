"""One forward of the decoder while a method is attached: select, drop, follow, put back."""
