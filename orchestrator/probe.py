"""Asks an engine over HTTP whether it serves: /health answers 200, and /v1/models lists the names.

/health alone is not enough: it may answer before the model is there, or come from somebody else's server.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrator.model import Endpoint
from orchestrator.ports import Answer

if TYPE_CHECKING:
    import http.client

TIMEOUT = 3.0  # seconds for each of the two questions
UNASKABLE = "its host or its API key holds characters that cannot be sent"


class HttpProber:
    def ask(self, endpoint: Endpoint, names: Sequence[str], token: str | None) -> Answer:
        import http.client

        try:
            status, _ = _get(endpoint, "/health", None)
            if status != 200:
                return Answer(False, f"/health answers {status}")
            status, body = _get(endpoint, "/v1/models", token)
        except (OSError, http.client.HTTPException) as error:
            return Answer(False, _reason(error))
        except ValueError:  # its text may hold the key
            return Answer(False, UNASKABLE)
        if status == 401:  # it was started with another key than the one at hand, which says nothing of its health
            return Answer(True, "its API key is not known here, so its models could not be listed")
        if status != 200:
            return Answer(False, f"/v1/models answers {status}")
        missing = sorted(set(names) - _listed(body))
        return Answer(False, f"/v1/models does not list {', '.join(missing)}") if missing else Answer(True)


def _get(endpoint: Endpoint, path: str, token: str | None) -> tuple[int, bytes]:
    connection = _connect(endpoint)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        response = connection.getresponse()
        return response.status, response.read(1 << 20)
    finally:
        connection.close()


def _connect(endpoint: Endpoint) -> "http.client.HTTPConnection":
    import http.client

    if not endpoint.tls:
        return http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=TIMEOUT)
    import ssl

    # Its certificate names the host that clients use, which is not the loopback address asked here.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(endpoint.host, endpoint.port, timeout=TIMEOUT, context=context)


def _listed(body: bytes) -> set[str]:
    try:
        return {str(model["id"]) for model in json.loads(body)["data"]}
    except (ValueError, KeyError, TypeError):
        return set()


def _reason(error: Exception) -> str:
    import http.client

    if isinstance(error, http.client.InvalidURL):
        return UNASKABLE
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT:g} s"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens on its port yet"
    return str(error) or type(error).__name__
