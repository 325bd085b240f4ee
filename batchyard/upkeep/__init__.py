"""Looking after a data folder from outside: is it sound, a copy of it, and back from the copy."""
