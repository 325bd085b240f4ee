"""Databases as earlier releases left them, one dump a release: `python -m tests.unit.store.releases` writes this one's.

Made at each release, and never changed afterwards; before that, made again when the schema changes. `test_upgrade.py`
opens them all with the code of today.
"""
