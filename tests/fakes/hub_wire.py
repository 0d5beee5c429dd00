"""How the stand-in Hub speaks HTTP: its listeners, its connections, ranges, the pace of a body, and what cuts one."""

import fcntl
import re
import select
import socket
import ssl
import struct
import termios
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from threading import Thread, current_thread
from typing import Any, Literal

from fakes.hub_faults import Fault, Faults, Kind, On
from fakes.hub_store import Content, Flipped

PIECE = 1 << 20  # bytes a send: so often is what is sent counted, and the rate looked at
TICK = 0.01  # seconds a piece takes where there is a rate
RANGE = re.compile(r"bytes=(\d*)-(\d*)")
Name = Literal["hub", "cdn", "cas"]


@dataclass(slots=True)
class Request:
    """Written down when it came; ``status`` and ``sent`` (bytes of files only) follow as it is answered."""

    method: str
    path: str  # with the query
    headers: Mapping[str, str]  # names in lower case
    origin: Name
    status: int = 0
    sent: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    content: Content
    headers: Mapping[str, str] = field(default_factory=dict)
    on: On = "api"


@dataclass(slots=True)
class Wire:
    """What all connections share."""

    answer: Callable[[Request], Answer]
    refuse: Callable[[Fault], Answer]
    faults: Faults = field(default_factory=Faults)
    requests: list[Request] = field(default_factory=list)
    rate: float | None = None


class Handler(BaseHTTPRequestHandler):
    """One connection, for all its requests."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server_version = "fake-hub"
    connection: socket.socket
    record: Request
    due = 0.0  # when this connection may send its next piece, where there is a rate

    def __init__(self, connection: socket.socket, wire: Wire, name: Name) -> None:
        self.wire, self.name = wire, name
        super().__init__(connection, "", None)  # type: ignore[arg-type]  # neither is looked at

    def respond(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.record = Request(self.command, self.path, headers, self.name)
        self.wire.requests.append(self.record)
        self.rfile.read(int(headers.get("content-length", 0)))
        answer = self.wire.answer(self.record)
        if fault := self.take("status", on=answer.on):
            answer = self.wire.refuse(fault)
            fault.reached.set()
        answer, start, end = self.part(answer)
        self.send_head(answer, end - start)
        if self.command != "HEAD":
            self.send_body(answer, start, end)

    do_GET = do_HEAD = do_POST = respond

    def log_message(self, format: str, *args: Any) -> None:
        """Not among the test's own output."""

    def take(self, *kinds: Kind, on: On, start: int = 0, end: int = 0) -> Fault | None:
        on = "head" if self.command == "HEAD" else on
        return self.wire.faults.take(kinds, on, self.path, start, end)

    # ---------------------------------------------------------------------------------------- which part of a file

    def part(self, answer: Answer) -> tuple[Answer, int, int]:
        """The answer to what was asked for by ``Range``, with the first byte to send and the one behind the last."""
        size = answer.content.size
        if answer.on != "body" or answer.status != 200 or self.take("no_range", on=answer.on):
            return answer, 0, size
        headers = {**answer.headers, "Accept-Ranges": "bytes"}
        span = self.asked(size, answer.headers.get("ETag", "")) if self.command == "GET" else None
        start, end = span or (0, size)
        if span and start >= size:
            return replace(answer, status=416, headers=headers | {"Content-Range": f"bytes */{size}"}), size, size
        if span and self.take("wrong_range", on="body"):
            start, end = 0, end - start
        if fault := self.take("truncate", on="body"):
            end = min(end, start + fault.after)
        if fault := self.take("corrupt", on="body", start=start, end=end):
            answer = replace(answer, content=Flipped(answer.content, fault.offset))
        if span:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        return replace(answer, status=206 if span else 200, headers=headers), start, end

    def asked(self, size: int, etag: str) -> tuple[int, int] | None:
        """The range that was asked for, cut at the end of the file; None for the whole, as for what is no range."""
        match = RANGE.fullmatch(self.headers.get("Range", ""))
        if not match or match.groups() == ("", "") or self.headers.get("If-Range", etag) != etag:
            return None
        first, last = match.groups()
        if not first:
            return max(0, size - int(last)), size
        return int(first), min(int(last) + 1, size) if last else size

    # ------------------------------------------------------------------------------------------------ its sending

    def send_head(self, answer: Answer, length: int) -> None:
        self.record.status = answer.status
        self.send_response(answer.status)
        for name, value in {**answer.headers, "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()

    def send_body(self, answer: Answer, start: int, end: int) -> None:
        cut = self.take("reset", "close", "stall", on=answer.on) if answer.status < 300 else None
        stop = end if cut is None else min(start + cut.after, end)
        self.send_bytes(answer, start, stop)
        if cut is None:
            return
        cut.reached.set()
        if cut.kind == "stall":
            self.hold(cut)
            self.send_bytes(answer, stop, end)
        else:
            self.hang_up(reset=cut.kind == "reset")

    def send_bytes(self, answer: Answer, start: int, end: int) -> None:
        for piece in answer.content.pieces(start, end):
            rest = piece
            while rest:
                rate = self.wire.rate
                sent = self.send(rest[: PIECE if rate is None else max(1, int(rate * TICK))], answer.on == "body")
                rest = rest[sent:]
                if rate is not None:
                    self.pace(sent / rate)

    def send(self, piece: memoryview, counted: bool) -> int:
        """Counts beforehand, since who has got the last byte may look at once; and takes back what was not sent."""
        sent, told = 0, len(piece) if counted else 0
        self.record.sent += told
        try:
            sent = self.connection.send(piece)
        finally:
            self.record.sent -= max(0, told - sent)
        return sent

    def pace(self, seconds: float) -> None:
        """A client that was slow for a while may not catch up by more than a piece."""
        now = time.monotonic()
        self.due = max(self.due, now - TICK) + seconds
        time.sleep(max(0.0, self.due - now))

    def hold(self, cut: Fault) -> None:
        """Until the test lets go, or the client has."""
        while not cut.released.wait(0.02):
            if gone(self.connection):
                raise ConnectionAbortedError

    def hang_up(self, reset: bool) -> None:
        """A reset throws away what the client's kernel has not taken yet, so that it comes after that."""
        self.close_connection = True
        if reset:
            while unsent(self.connection) and not gone(self.connection):
                time.sleep(0.001)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def unsent(connection: socket.socket) -> int:
    answer = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0" * 4)
    return int.from_bytes(answer, "little")


def gone(connection: socket.socket) -> bool:
    """The client has closed, or this side has been told to."""
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP | select.POLLHUP | select.POLLERR)
    return bool(poll.poll(0))


class Origin:
    """One address to listen on. Stopped, it refuses connections and drops the living ones, and keeps its port."""

    def __init__(self, name: Name, host: str, wire: Wire, tls: ssl.SSLContext | None) -> None:
        self.name, self.wire, self.tls = name, wire, tls
        # Bound and never listening: nobody else gets the port while the Hub is down.
        self.reserved = bound(0)
        self.port = int(self.reserved.getsockname()[1])
        self.url = f"{'https' if tls else 'http'}://{host}:{self.port}"
        self.listener: socket.socket | None = None
        self.acceptor: Thread
        self.living: dict[Thread, socket.socket] = {}

    def start(self) -> None:
        if self.listener is None:
            self.listener = bound(self.port)
            self.listener.listen(128)
            self.acceptor = Thread(target=self.accept, args=(self.listener,), daemon=True)
            self.acceptor.start()

    def stop(self) -> None:
        if self.listener is None:
            return
        self.listener.shutdown(socket.SHUT_RDWR)  # wakes the acceptor
        self.acceptor.join()
        self.listener.close()
        self.listener = None
        for thread, connection in list(self.living.items()):
            with suppress(OSError):  # gone by itself
                socket.socket.shutdown(connection, socket.SHUT_RDWR)  # a TLS connection's own would wait for its peer
            thread.join()

    def close(self) -> None:
        self.stop()
        self.reserved.close()

    def accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # it is closed
                return
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
            thread = Thread(target=self.serve, args=(connection,), daemon=True)
            self.living[thread] = connection
            thread.start()

    def serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):  # the client went away, at any moment
            if isinstance(connection, ssl.SSLSocket):
                connection.do_handshake()
            Handler(connection, self.wire, self.name)
        del self.living[current_thread()]


def bound(port: int) -> socket.socket:
    taken = socket.socket()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    taken.bind(("127.0.0.1", port))
    return taken
