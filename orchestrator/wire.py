"""One question to an HTTP server, one connection. By hand, for the standard library's client brings 6 MB into a process
that watches for months, and a limit for each read instead of one for the whole exchange."""

import re
import socket
import time

from orchestrator.model import Endpoint

_HOST = re.compile(r"[!-~]+")
_TOKEN = re.compile(r"[ -~\xa0-\xff]*")
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: [^\r\n]*)?\r?\n")
_LENGTH = re.compile(rb"\ncontent-length:[ \t]*([0-9]+)[ \t]*\r?\n", re.IGNORECASE)
_END = re.compile(rb"\r?\n\r?\n")
HEAD = 1 << 16  # bytes; no header of an engine is a tenth of it


class Unaskable(ValueError):
    """The host or the token holds what cannot be sent. Its text shows neither."""


def ask(
    endpoint: Endpoint,
    path: str,
    token: str | None = None,
    body: bytes | None = None,
    *,
    timeout: float,
    limit: int = 1 << 20,
) -> tuple[int, bytes]:
    """(status, the first ``limit`` bytes of the answer) within ``timeout`` seconds; a ``body`` (JSON) is posted. Raises
    OSError, TimeoutError among them, and Unaskable."""
    question = _question(endpoint, path, token, body)
    deadline = time.monotonic() + timeout
    try:
        plain = socket.create_connection((endpoint.host, endpoint.port), timeout)
    except ValueError:  # of the host: a label that is too long, a lone surrogate
        raise Unaskable from None
    with plain, _secured(plain, endpoint) as connection:
        _allow(connection, deadline)
        connection.sendall(question)
        return _answer(connection, deadline, limit)


def _question(endpoint: Endpoint, path: str, token: str | None, body: bytes | None) -> bytes:
    if not _HOST.fullmatch(endpoint.host) or not _TOKEN.fullmatch(token or ""):
        raise Unaskable
    lines = [
        f"{'GET' if body is None else 'POST'} {path} HTTP/1.0",  # 1.0: the answer comes in one piece, and ends
        f"Host: {endpoint.url.partition('//')[2]}",
        *([f"Authorization: Bearer {token}"] if token else []),
        *(["Content-Type: application/json", f"Content-Length: {len(body)}"] if body is not None else []),
    ]
    return "".join(line + "\r\n" for line in [*lines, ""]).encode("latin-1") + (body or b"")


def _secured(plain: socket.socket, endpoint: Endpoint) -> socket.socket:
    if not endpoint.tls:
        return plain
    import ssl

    # Its certificate names the host that clients use, which is not the loopback address asked here.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(plain, server_hostname=endpoint.host)


def _allow(connection: socket.socket, deadline: float) -> None:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    connection.settimeout(left)


def _answer(connection: socket.socket, deadline: float, limit: int) -> tuple[int, bytes]:
    held = bytearray()
    end, wanted = None, limit
    while end is None or len(held) - end < wanted:
        _allow(connection, deadline)
        chunk = connection.recv(1 << 16)
        held += chunk
        if end is None and (found := _END.search(held)):
            end = found.end()
            length = _LENGTH.search(held, 0, end)
            wanted = min(limit, int(length[1])) if length else limit
        if not chunk or (end is None and len(held) > HEAD):
            break
    status = _STATUS.match(held)
    if end is None or status is None:
        raise ConnectionError("what it answers is not HTTP" if held else "it closed the connection without an answer")
    return int(status[1]), bytes(held[end : end + wanted])
