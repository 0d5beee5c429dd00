"""HTTP by hand: what is read of answers good and bad, and how long that may take."""

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from orchestrator import wire
from orchestrator.model import Endpoint

Serve = Callable[..., Endpoint]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """``serve(b"HTTP/1.1 ...", ...)`` answers one connection with these pieces; ``asked`` holds what it was asked."""
    ends = []

    def start(*pieces: bytes, asked: list[bytes] | None = None, stay: bool = False) -> Endpoint:
        listener = socket.create_server(("127.0.0.1", 0))
        over = threading.Event()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection, listener:
                question = connection.recv(1 << 16)
                if asked is not None:
                    asked.append(question)
                for piece in pieces:
                    connection.sendall(piece)
                if stay:
                    over.wait()

        thread = threading.Thread(target=answer)
        thread.start()
        ends.append((over, thread))
        return Endpoint("127.0.0.1", listener.getsockname()[1])

    yield start
    for over, thread in ends:
        over.set()
        thread.join()


def test_a_whole_answer_ends_where_it_says_though_the_connection_stays(serve: Serve) -> None:
    endpoint = serve(b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 3\r\n\r\nabcd", stay=True)
    assert wire.ask(endpoint, "/", timeout=5) == (200, b"abc")


def test_an_answer_in_pieces_without_a_length_ends_with_the_connection(serve: Serve) -> None:
    endpoint = serve(b"HTTP/1.0 50", b"3 No\r\n", b"\r", b"\nab", b"cd")
    assert wire.ask(endpoint, "/", timeout=5) == (503, b"abcd")


def test_the_question(serve: Serve) -> None:
    asked: list[bytes] = []
    endpoint = serve(b"HTTP/1.1 204 No Content\r\n\r\n", asked=asked)
    assert wire.ask(endpoint, "/v1/x", "k", b"{}", timeout=5) == (204, b"")
    host = f"Host: 127.0.0.1:{endpoint.port}".encode()
    kind = b"Content-Type: application/json\r\nContent-Length: 2"
    assert asked == [b"POST /v1/x HTTP/1.0\r\n" + host + b"\r\nAuthorization: Bearer k\r\n" + kind + b"\r\n\r\n{}"]


def test_no_more_than_the_limit_is_read(serve: Serve) -> None:
    endpoint = serve(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5000, stay=True)
    assert wire.ask(endpoint, "/", timeout=5, limit=100) == (200, b"x" * 100)


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH_9.2\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: b\r\n", b""])
def test_what_is_no_answer(serve: Serve, answer: bytes) -> None:
    with pytest.raises(ConnectionError):
        wire.ask(serve(answer), "/", timeout=5)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\nabc"])
def test_the_time_is_for_the_whole_exchange(serve: Serve, answer: bytes) -> None:
    endpoint, began = serve(answer, stay=True), time.monotonic()
    with pytest.raises(TimeoutError):
        wire.ask(endpoint, "/", timeout=0.1)
    assert time.monotonic() - began < 5


def test_a_header_without_end(serve: Serve) -> None:
    with pytest.raises(OSError, match=r"not HTTP|reset"):
        wire.ask(serve(b"HTTP/1.1 200 OK\r\n" + b"x" * (wire.HEAD + 1), stay=True), "/", timeout=5)


@pytest.mark.parametrize(
    ("host", "token"), [("a\nb", None), ("x" * 64 + ".example", None), ("a", "k\r\nX: y"), ("a", "€")]
)
def test_what_cannot_be_asked(host: str, token: str | None) -> None:
    with pytest.raises(wire.Unaskable):
        wire.ask(Endpoint(host, 1), "/", token, timeout=1)
