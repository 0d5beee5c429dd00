"""Proof that orch comes through whatever is done to it: `make chaos`. A run draws what it does from its seed, does it
to fake engines and the real command line, and looks from outside at what is left."""

import sys
from pathlib import Path

_TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(_TESTS), str(_TESTS / "process")]  # what the other tests have from pytest
