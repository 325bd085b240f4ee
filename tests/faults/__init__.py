"""Fault simulation: the real core, store, runtime and API on virtual time, under a plan of faults drawn from a seed."""
