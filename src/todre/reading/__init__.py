"""From `result.json` of `todre eval` to tables and pages; the figures are in `todre.plots`."""
