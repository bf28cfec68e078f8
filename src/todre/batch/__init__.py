"""Answer many rows of a file, resumably: one process, several, Ray, an endpoint."""
