"""Job roles: what an attempt with a role is given, and what it may do here while it runs (ADR 17)."""
