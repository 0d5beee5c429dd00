"""A stand-in for vLLM: same flags, routes, log lines and exits, in standard-library Python that listens within 0.1 s.

``tests/fakes/test_fake.py`` keeps it a twin of the real one; ``tests/recorded`` holds what the real one printed.
"""

__version__ = "9.9.9"
