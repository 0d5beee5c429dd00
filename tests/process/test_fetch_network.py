"""How the Hub is reached, who is told the token, and how long it takes to hear that there is no way."""

import base64
import http.client
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest
from fakes.hub import Hub
from fakes.sandbox import wait_until
from fetch_kit import FAST, MIB, MODEL, Kit, noise

from orchestrator.errors import FetchFailed
from orchestrator.hub.child.job import Question, Tuning, Want
from orchestrator.hub.child.remote import Hub as Remote

FILES = {"config.json": b"{}", MODEL: noise(5 * MIB)}
TOKEN = "hf_very_secret"


@pytest.fixture
def want(kit: Kit) -> Want:
    return kit.add(FILES)


# ----------------------------------------------------------------------------------------------------------- the token


def test_a_token_is_for_the_hub_alone(kit: Kit) -> None:
    want = kit.add(FILES, "org/private", private=True, token=TOKEN)
    kit.hub.api.resolve_cache = True  # small files are behind a redirect within the Hub
    gate = kit.hub.gate(MODEL, after=1000)
    child = kit.start(kit.job(want, token=TOKEN, tuning=replace(FAST, stall=20)))
    assert gate.reached.wait(10)
    for name in ("cmdline", "environ"):
        assert TOKEN.encode() not in Path("/proc", str(child.process.pid), name).read_bytes()
    gate.release()
    child.answer()
    assert kit.whole(want, FILES)
    told = {(one.origin, one.headers.get("authorization")) for one in kit.hub.requests}
    assert told == {("hub", f"Bearer {TOKEN}"), ("cdn", None)}
    assert TOKEN not in "".join([*child.told.lines, *child.noise])
    for path in kit.home.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes()


def test_another_port_of_the_same_host_is_not_the_hub(kit: Kit) -> None:
    want = kit.add(FILES, "org/private", private=True, token=TOKEN)
    kit.hub.api.cdn = kit.hub.cdn.replace("localhost", "127.0.0.1")
    kit.fetch(want, token=TOKEN)
    assert kit.whole(want, FILES)
    assert {one.headers.get("authorization") for one in kit.hub.requests if one.origin == "cdn"} == {None}


# ------------------------------------------------------------------------------------------------------------- proxies


class Proxy(ThreadingHTTPServer):
    """Forwards what it is asked for by its full address, and remembers it. ``user`` has to be named where it is set."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Forward)
        self.asked: list[str] = []
        self.user = ""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class Forward(BaseHTTPRequestHandler):
    server: Proxy

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        named = self.headers.get("Proxy-Authorization", "").removeprefix("Basic ")
        if base64.b64decode(named).decode() != self.server.user:
            self.send_error(407)
            return
        parts = urlsplit(self.path)
        upstream = http.client.HTTPConnection(parts.netloc)
        upstream.request("GET", self.path.partition(parts.netloc)[2], headers=dict(self.headers))
        answer = upstream.getresponse()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.read())
        upstream.close()

    def log_message(self, format: str, *args: Any) -> None:
        """Not among the test's own output."""


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Proxy() as proxy:
        thread = Thread(target=proxy.serve_forever, args=(0.01,))
        thread.start()
        yield proxy
        proxy.shutdown()
        thread.join()


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy"])
@pytest.mark.parametrize("scheme", ["http://", ""])
def test_a_proxy_is_asked(kit: Kit, want: Want, proxy: Proxy, name: str, scheme: str) -> None:
    kit.run(want, env={name: f"{scheme}{proxy.address}"})
    assert kit.whole(want, FILES)
    assert sorted(proxy.asked) == sorted(kit.urls())


def test_a_proxy_that_wants_a_name(kit: Kit, want: Want, proxy: Proxy) -> None:
    proxy.user = "me:p@ss:word"
    kit.run(want, env={"http_proxy": f"http://me:p%40ss%3Aword@{proxy.address}"})
    assert kit.whole(want, FILES)
    assert len(proxy.asked) == len(kit.hub.requests)
    proxy.user = "you:other"
    other = kit.add({"config.json": b"other"}, "org/other")
    error = kit.start(kit.job(other), {"http_proxy": f"http://me:p%40ss%3Aword@{proxy.address}"}).fails()
    assert "407 Proxy Authentication Required" in error.why
    assert "proxy" in error.do
    assert "p@ss" not in str(error)


@pytest.mark.parametrize("form", ["{host}", "{host}:{port}", "*", "example.org, {host}"])
def test_no_proxy_where_none_is_wanted(kit: Kit, want: Want, proxy: Proxy, form: str) -> None:
    """Of the Hub's host; the storage is another."""
    hub = urlsplit(kit.hub.endpoint)
    bypass = form.format(host=hub.hostname, port=hub.port)
    kit.run(want, env={"http_proxy": f"http://{proxy.address}", "no_proxy": bypass})
    assert kit.whole(want, FILES)
    assert {urlsplit(url).netloc for url in proxy.asked} == (set() if form == "*" else {urlsplit(kit.hub.cdn).netloc})


def test_a_proxy_that_is_none(kit: Kit, want: Want) -> None:
    error = kit.start(kit.job(want), {"http_proxy": "socks5://127.0.0.1:9"}).fails()
    assert "socks5" in error.why
    assert "proxy" in error.do
    error = kit.start(kit.job(want), {"http_proxy": "http://127.0.0.1:9"}).fails()
    assert f"there is no way to {kit.hub.endpoint} through the proxy: connection refused" in error.why


# ------------------------------------------------------------------------------------------------------- certificates


@pytest.fixture
def tls_kit(tls_hub: Hub, tmp_path: Path) -> Iterator[Kit]:
    kit = Kit(tls_hub, tmp_path / "home")
    yield kit
    kit.close()


def test_a_certificate_that_nobody_vouches_for(tls_kit: Kit) -> None:
    want = tls_kit.add(FILES)
    began = time.monotonic()
    error = tls_kit.start(tls_kit.job(want, tuning=Tuning())).fails()
    assert time.monotonic() - began < 5
    assert error.why == f"the certificate of {tls_kit.hub.endpoint} is not trusted (self-signed certificate)"
    assert "SSL_CERT_FILE" in error.do
    question = replace(tls_kit.job(want), do="list", questions=(Question("org/m", "main"),))
    (told,) = tls_kit.start(question).answer().result
    assert told["error"]["why"] == error.why
    trusting = {"SSL_CERT_FILE": str(tls_kit.hub.certificate)}
    (told,) = tls_kit.start(question, trusting).answer().result
    assert told["commit"] == want.commit
    tls_kit.run(want, env=trusting)
    assert tls_kit.whole(want, FILES)


# ---------------------------------------------------------------------------------------------------- nobody is there


@pytest.mark.parametrize(
    ("endpoint", "why"),
    [
        ("http://127.0.0.1:9", "there is no way to http://127.0.0.1:9: connection refused (4 tries)"),
        ("http://hub.invalid", "there is no way to http://hub.invalid: its name is not found (4 tries)"),
    ],
)
def test_no_way_is_told_within_seconds(kit: Kit, want: Want, endpoint: str, why: str) -> None:
    """With the tunings that are shipped."""
    began = time.monotonic()
    child = kit.start(replace(kit.job(want, tuning=Tuning()), endpoint=endpoint))
    assert child.fails().why == why
    assert time.monotonic() - began < 10
    assert child.told.said  # and before that, that it is tried again


@pytest.fixture
def swallowing() -> Iterator[str]:
    """The address of a host that answers nothing, not even a connection: its queue is full."""
    with socket.socket() as listener, ExitStack() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(2):
            caller = waiting.enter_context(socket.socket())
            caller.setblocking(False)
            with suppress(BlockingIOError):
                caller.connect(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_silence_is_told_after_its_first_timeout(kit: Kit, want: Want, swallowing: str) -> None:
    """With the shipped ones that is 10 s."""
    began = time.monotonic()
    child = kit.start(replace(kit.job(want, tuning=replace(FAST, stall=2.1, attempts=9)), endpoint=swallowing))
    wait_until(lambda: child.told.said)
    assert time.monotonic() - began < 4
    assert f"there is no way to {swallowing}: no answer in time; trying again" in child.told.said[0]


@pytest.mark.parametrize("endpoint", ["hub.example", "ftp://hub.example", "http://"])
def test_an_endpoint_that_is_none(kit: Kit, want: Want, endpoint: str) -> None:
    began = time.monotonic()
    error = kit.start(replace(kit.job(want, tuning=Tuning()), endpoint=endpoint)).fails()
    assert "HF_ENDPOINT" in error.do
    assert time.monotonic() - began < 5


def test_a_storage_that_cannot_be_reached_is_named(kit: Kit, want: Want) -> None:
    """The Hub itself answers: a firewall that lets through no more than its name."""
    kit.hub.api.cdn = "http://127.0.0.1:9"
    error, _ = kit.fails(want)
    assert error.why == "there is no way to http://127.0.0.1:9: connection refused (4 tries)"


# --------------------------------------------------------------------------------------------- questions to the Hub


def asked(kit: Kit, token: str | None = None) -> Remote:
    return Remote(kit.hub.endpoint, token, pauses=(0.01, 0.01))


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_question_is_asked_again(kit: Kit, want: Want, status: int) -> None:
    kit.hub.fault("status", times=2, on="api", status=status, headers={"Retry-After": "0"})
    assert asked(kit).commit("org/m", "main") == want.commit
    assert asked(kit).files("org/m", want.commit) == want.files


def test_who_asks_for_a_long_wait_is_believed(kit: Kit, want: Want) -> None:
    """Nobody sees why it would be silent for so long: better an answer now."""
    kit.hub.fault("status", times=None, on="api", status=429, headers={"Retry-After": "200"})
    began = time.monotonic()
    with pytest.raises(FetchFailed) as caught:
        asked(kit).commit("org/m", "main")
    assert time.monotonic() - began < 10
    assert "429" in caught.value.why
    assert "200 s" in caught.value.do
