"""Results of `todre eval`: reading, tables and pages.

`results` reads and checks `result.json`, `tables` puts numbers side by side, `formats` writes tables as Markdown, LaTeX
or CSV, and `leaderboard` and `result_pages` write whole pages. `costs` and `choice` serve the figures of `todre.plots`.
"""
