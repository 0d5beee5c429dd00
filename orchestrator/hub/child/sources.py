"""Where bytes come from: plain HTTP with ranges, or Xet. A source delivers the bytes from ``start`` to ``end`` of a
file in order, from any of several threads, and says of each failure whether it passes.
"""

import contextlib
import email.utils
import os
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from urllib.parse import quote, unquote, urljoin, urlsplit

import urllib3

from orchestrator.errors import FetchFailed
from orchestrator.hub.child import problems
from orchestrator.hub.child.problems import Passing
from orchestrator.model import RemoteFile

BUFFER = 1 << 18
REDIRECTS = 5
MOVED = frozenset((301, 302, 303, 307, 308))
EXPIRED = frozenset((401, 403, 404, 410))
"""How a storage refuses an address that was signed for a while."""
BUSY = frozenset((408, 425, 429, 500, 502, 503, 504))
DOUBTED = 3
"""Tries of what is rather wrong for good."""
LONGEST_WAIT = 300.0
"""Seconds of a Retry-After that are obeyed."""

Sink = Callable[[memoryview], None]
T = TypeVar("T")


@dataclass(slots=True)
class Remote:
    """A file with its repository and commit. ``ranged`` is learnt from the first answer; ``direct`` is where the Hub
    redirected to, good until that server refuses it."""

    repo: str
    commit: str
    file: RemoteFile
    ranged: bool | None = None
    direct: str = ""


class Source(Protocol):
    def read(self, remote: Remote, start: int, end: int, sink: Sink) -> None:
        """Returns when all has come. Raises Passing, or FetchFailed for good; what came by then is in the sink."""
        ...


class HttpSource:
    """``stall`` is how many seconds without a byte count as a dead connection."""

    def __init__(self, endpoint: str, token: str | None, connections: int, stall: float) -> None:
        self.endpoint, self.token, self._stall = endpoint.rstrip("/"), token, stall
        self._timeout = urllib3.Timeout(connect=stall, read=stall)
        self._size = connections
        self._pools: dict[str, Any] = {}
        self._lock = threading.Lock()

    def url(self, remote: Remote) -> str:
        return f"{self.endpoint}/{remote.repo}/resolve/{remote.commit}/{quote(remote.file.path)}"

    def read(self, remote: Remote, start: int, end: int, sink: Sink) -> None:
        response, url = self._open(remote, start, end)
        try:
            skip = self._check(response, url, remote, start)
            _pour(response, skip, end - start, sink)
        except urllib3.exceptions.HTTPError as error:
            raise Passing(self._broken(error), problems.NETWORK) from error
        finally:
            _leave(response)

    def locate(self, remote: Remote) -> tuple[str, dict[str, str]]:
        """The address that serves the content, and the headers that it wants."""
        response, url = self._open(remote, 0, 1)
        try:
            self._check(response, url, remote, 0)
        finally:
            response.close()
        return url, self._authorization(url)

    # ------------------------------------------------------------------------------------------------ one request

    def _open(self, remote: Remote, start: int, end: int) -> tuple[Any, str]:
        """The answer, and who gave it."""
        direct = remote.direct
        url = direct or self.url(remote)
        for _ in range(REDIRECTS):
            response = self._get(url, {"Range": f"bytes={start}-{end - 1}"})
            if url == direct and response.status in EXPIRED:
                remote.direct, direct, url = "", "", self.url(remote)
            elif response.status in MOVED:
                url = urljoin(url, response.headers.get("Location", ""))
            else:
                if response.status in (200, 206) and not self._own(url):
                    remote.direct = url
                return response, url
            _leave(response)
        do = "check HF_ENDPOINT, or try again later"
        raise FetchFailed(f"fetch {remote.file.path} of {remote.repo}", f"{self.endpoint} redirects in a circle", do)

    def _get(self, url: str, headers: Mapping[str, str]) -> Any:
        sent = {"Accept-Encoding": "identity", "User-Agent": "orch", **headers, **self._authorization(url)}
        try:
            return self._pool(url).request(
                "GET", url, headers=sent, preload_content=False, redirect=False, retries=False, timeout=self._timeout
            )
        except urllib3.exceptions.LocationValueError as error:  # an address, or a proxy's, that is none
            raise FetchFailed(f"fetch from {self.endpoint}", str(error), "check HF_ENDPOINT and the proxy's") from error
        except urllib3.exceptions.HTTPError as error:
            if problems.untrusted(error):
                raise problems.network(f"fetch from {self.endpoint}", error, url) from error
            raise Passing(problems.no_way(error, url), problems.NETWORK, answered=False) from error

    def _authorization(self, url: str) -> dict[str, str]:
        """To the Hub alone, never to whom it redirects to."""
        return {"Authorization": f"Bearer {self.token}"} if self.token and self._own(url) else {}

    def _own(self, url: str) -> bool:
        """Whether an address is the Hub itself: scheme, host and port."""
        return urlsplit(url)[:2] == urlsplit(self.endpoint)[:2]

    def _pool(self, url: str) -> Any:
        """One pool of connections for each proxy, or none, as the variables have it for this address."""
        parts = urlsplit(url)
        bypass = urllib.request.proxy_bypass(parts.netloc.rpartition("@")[2])
        proxies = {} if bypass else urllib.request.getproxies()
        proxy = proxies.get(parts.scheme) or proxies.get("all", "")
        with self._lock:
            if proxy not in self._pools:
                self._pools[proxy] = _pool_by(proxy, self._size)
            return self._pools[proxy]

    # ------------------------------------------------------------------------------------------------- its answer

    def _check(self, response: Any, url: str, remote: Remote, start: int) -> int:
        """How many bytes of the body come before ``start``."""
        status, size = response.status, remote.file.size
        if status == 206:
            if _content_range(response) not in ((start, size), (start, None)):
                told = response.headers.get("Content-Range")
                raise Passing(f"{_name(url)} sent another range than was asked for: {told}", tries=DOUBTED)
            remote.ranged = True
            return 0
        if status == 200:
            if response.headers.get("Content-Length", str(size)) != str(size):
                why = f"{_name(url)} has {response.headers['Content-Length']} bytes of it, and the Hub lists {size}"
                raise Passing(why, "a proxy or mirror may be in between: try another HF_ENDPOINT", tries=DOUBTED)
            remote.ranged = False  # it sends the whole file, whatever was asked for
            return start
        told = f"{_name(url)} answers {status} {response.reason or ''}".strip()
        if status in BUSY or status >= 500:
            raise Passing(told, after=retry_after(response.headers) or 0.0)
        if status == 416 or not self._own(url):
            raise Passing(told, tries=DOUBTED)
        if status in (401, 403):
            if response.headers.get("X-Error-Code") == "GatedRepo":
                raise problems.gated(remote.repo, self.endpoint, token=bool(self.token))
            raise problems.refused(remote.repo, status, token=bool(self.token))
        if status == 407:
            raise FetchFailed(f"fetch {remote.repo}", told, "name a user and password of the proxy in its variable")
        if status == 404:
            why = f"the Hub lists {remote.file.path} and does not have it"
            raise FetchFailed(f"fetch {remote.repo}", why, "try again with --refresh")
        raise FetchFailed(f"fetch {remote.file.path} of {remote.repo}", told, "try again later")

    def _broken(self, error: BaseException) -> str:
        if any(isinstance(one, urllib3.exceptions.ReadTimeoutError) for one in problems.chain(error)):
            return f"nothing came for {self._stall:g} s"
        return "the connection broke"


def _pour(response: Any, skip: int, wanted: int, sink: Sink) -> None:
    """Each piece as it comes: a connection that breaks must not take what it had brought with it."""
    while wanted:
        piece = memoryview(response.read1(min(BUFFER, skip or wanted)))
        if not piece:
            raise Passing("the connection ended early", problems.NETWORK)
        if skip:
            skip -= len(piece)
            continue
        wanted -= len(piece)
        sink(piece)


def _leave(response: Any) -> None:
    """For the next request, unless much is left in it."""
    if response.length_remaining is not None and response.length_remaining < BUFFER:
        response.drain_conn()
    response.release_conn() if response.length_remaining == 0 else response.close()


def _pool_by(proxy: str, size: int) -> Any:
    """The variables may name a proxy without a scheme, as curl has it, and with a password."""
    if not proxy:
        return urllib3.PoolManager(maxsize=size)
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    user = unquote(urlsplit(proxy).netloc.rpartition("@")[0])
    return urllib3.ProxyManager(
        proxy, maxsize=size, proxy_headers=urllib3.make_headers(proxy_basic_auth=user) if user else None
    )


def _name(url: str) -> str:
    return urlsplit(url).netloc


def _content_range(response: Any) -> tuple[int, int | None] | None:
    """(first byte, size of the whole file), which it need not tell."""
    unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
    span, _, size = rest.partition("/")
    first = span.partition("-")[0]
    if unit != "bytes" or not first.isdigit() or not (size.isdigit() or size == "*"):
        return None
    return int(first), None if size == "*" else int(size)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, from either of the header's two forms."""
    text = headers.get("Retry-After", "").strip()
    if text.isdigit():
        return min(float(text), LONGEST_WAIT)
    with contextlib.suppress(ValueError, TypeError):
        return min(max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time()), LONGEST_WAIT)
    return None


class XetSource:
    """Xet through hf_xet's own session. Its access tokens are short-lived and fetched by hf_xet from the Hub."""

    def __init__(self, endpoint: str, token: str | None, stall: float) -> None:
        # By itself it tries for minutes and in silence; that is done here, where a person hears of it.
        patience = {"READ_TIMEOUT": f"{stall:g}s", "CONNECT_TIMEOUT": f"{stall:g}s", "RETRY_MAX_ATTEMPTS": "0"}
        for name, value in patience.items():
            os.environ.setdefault(f"HF_XET_CLIENT_{name}", value)
        from hf_xet import XetSession

        self.endpoint, self.token = endpoint.rstrip("/"), token
        self._session = XetSession()
        self._groups: dict[str, Any] = {}
        self._lock = threading.Lock()

    def read(self, remote: Remote, start: int, end: int, sink: Sink) -> None:
        remote.ranged = True
        pieces = iter(_passing(lambda: self._group(remote).download_stream(_info(remote.file), start, end)))
        while (data := _passing(lambda: next(pieces, None))) is not None:
            start += len(data)
            sink(memoryview(data))
        if start < end:  # so it ends where its storage refuses something
            raise Passing("Xet: the stream ended early", tries=DOUBTED)

    def _group(self, remote: Remote) -> Any:
        """One for each repository and commit, for a token covers that much."""
        url = f"{self.endpoint}/api/models/{remote.repo}/xet-read-token/{remote.commit}"
        with self._lock:
            if url not in self._groups:
                headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
                self._groups[url] = self._session.new_download_stream_group(
                    token_refresh_url=url, token_refresh_headers=headers
                )
            return self._groups[url]


def _info(file: RemoteFile) -> Any:
    from hf_xet import XetFileInfo

    return XetFileInfo(file.xet, file.size)


def _passing(call: Callable[[], T]) -> T:
    """hf_xet raises whatever its Rust core says."""
    try:
        return call()
    except (OSError, RuntimeError, ValueError) as error:
        raise Passing(f"Xet: {' '.join(str(error).split())[:200]}", tries=DOUBTED) from error
