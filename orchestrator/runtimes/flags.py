"""Asks an installed engine for its command line: once a runtime, for importing most of the engine takes 10 to 40 s."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.errors import RuntimeFailure
from orchestrator.runtimes.inspect import INSIDE, clean_env
from orchestrator.shell import CommandFailed, run

TIMEOUT = 300.0  # seconds; from a cold network file system the imports take minutes
ALONE = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
"""It needs nothing from the network, and a look leaves nothing behind."""


def ask(python: Path, variables: Mapping[str, str], extra: Mapping[str, str]) -> dict[str, Any]:
    """The document of inside/snapshot.py; ``extra`` is the environment that the runtime itself needs. Raises
    RuntimeFailure when that Python does not run it, or keeps its parser where nobody looked."""
    what, do = f"ask the engine of {python} for its flags", "see whether it starts at all"
    try:
        done = run(
            [str(python), str(INSIDE / "snapshot.py")],
            env={**clean_env(variables, python, {}), **ALONE, **extra},
            timeout=TIMEOUT,
        )
        answer = json.loads(done.stdout.strip().rpartition("\n")[2])
    except CommandFailed as error:
        raise RuntimeFailure(what, error.why, do) from error
    except ValueError:
        raise RuntimeFailure(what, "its Python answered with no JSON", do) from None
    if "why" in answer:
        raise RuntimeFailure(what, answer["why"], do)
    return dict(answer)
