"""Asks an engine over HTTP whether it serves: /health answers 200, and /v1/models lists the names.

/health alone is not enough: it may answer before the model is there, or come from somebody else's server.
"""

import json
from collections.abc import Sequence

from orchestrator import wire
from orchestrator.model import Endpoint
from orchestrator.ports import Answer

TIMEOUT = 3.0  # seconds for each of the two questions
UNASKABLE = "its host or its API key holds characters that cannot be sent"


class HttpProber:
    def ask(self, endpoint: Endpoint, names: Sequence[str], token: str | None) -> Answer:
        try:
            status, _ = wire.ask(endpoint, "/health", timeout=TIMEOUT)
            if status != 200:
                return Answer(False, f"/health answers {status}")
            status, body = wire.ask(endpoint, "/v1/models", token, timeout=TIMEOUT)
        except wire.Unaskable:
            return Answer(False, UNASKABLE)
        except OSError as error:
            return Answer(False, _reason(error))
        if status == 401:  # it was started with another key than the one at hand, which says nothing of its health
            return Answer(True, "its API key is not known here, so its models could not be listed")
        if status != 200:
            return Answer(False, f"/v1/models answers {status}")
        missing = sorted(set(names) - _listed(body))
        return Answer(False, f"/v1/models does not list {', '.join(missing)}") if missing else Answer(True)


def _listed(body: bytes) -> set[str]:
    try:
        return {str(model["id"]) for model in json.loads(body)["data"]}
    except (ValueError, KeyError, TypeError):
        return set()


def _reason(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT:g} s"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens on its port yet"
    return str(error) or type(error).__name__
