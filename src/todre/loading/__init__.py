"""Models and processors: fetched, weighed, loaded."""
