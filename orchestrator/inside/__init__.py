"""Scripts that an engine's own Python runs, as files. Nothing in orch imports them, and they import nothing of orch:
standard library and each other only at the top, syntax of Python 3.9, one JSON document on the last line of stdout."""
