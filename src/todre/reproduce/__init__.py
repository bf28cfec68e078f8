"""The papers' tables and figures again: `todre reproduce`, with published, measured and the difference side by side."""
