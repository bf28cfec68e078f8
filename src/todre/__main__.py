"""Run the command line with `python -m todre`."""

from __future__ import annotations

from todre.cli import main

if __name__ == "__main__":
    main()
