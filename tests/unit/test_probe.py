"""What the prober says when a question cannot even be put."""

import http.server
import threading
from collections.abc import Iterator

import pytest

from orchestrator.model import Endpoint
from orchestrator.ports import Answer
from orchestrator.probe import UNASKABLE, HttpProber


class _Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with http.server.HTTPServer(("127.0.0.1", 0), _Healthy) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("key", ["hunter2\nX: y", "hunter2\udcff", "hunter2\u20ac"])
def test_a_key_that_fits_in_no_header(port: int, key: str) -> None:
    assert HttpProber().ask(Endpoint("127.0.0.1", port), ["a"], key) == Answer(False, UNASKABLE)


@pytest.mark.parametrize("host", ["a\nb", "x" * 64 + ".example", "\udcff", "a\0b"])
def test_a_host_that_cannot_be_one(host: str) -> None:
    assert HttpProber().ask(Endpoint(host, 1), ["a"], None) == Answer(False, UNASKABLE)
