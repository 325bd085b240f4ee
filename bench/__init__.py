"""Measurements of a real server over HTTP: `make bench`, or `python -m bench --help`."""
