"""Mixed load for a long time, with kills in between: `make soak`, or `python -m tests.soak --help`."""
