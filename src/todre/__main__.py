"""`python -m todre` is the command line."""

from __future__ import annotations

from todre.cli import main

if __name__ == "__main__":
    main()
