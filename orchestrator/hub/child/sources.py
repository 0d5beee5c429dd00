"""Where bytes come from: plain HTTP with ranges, or Xet. A source delivers the bytes from ``start`` to ``end`` of a
file in order, from any of several threads, and says of each failure whether it passes.
"""

import contextlib
import email.utils
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from urllib.parse import quote, urljoin, urlsplit

import urllib3

from orchestrator.errors import FetchFailed
from orchestrator.hub.child import problems
from orchestrator.hub.child.problems import Passing
from orchestrator.model import RemoteFile

BUFFER = 1 << 20
REDIRECTS = 5
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
        """Returns when all came, or when the other side ended early. Raises Passing, or FetchFailed for good."""
        ...


class HttpSource:
    """``stall`` is how many seconds without a byte count as a dead connection."""

    def __init__(self, endpoint: str, token: str | None, connections: int, stall: float) -> None:
        self.endpoint, self.token = endpoint.rstrip("/"), token
        self._timeout = urllib3.Timeout(connect=min(stall, 10.0), read=stall)
        self._size = connections
        self._pools: dict[str, Any] = {}
        self._lock = threading.Lock()

    def url(self, remote: Remote) -> str:
        return f"{self.endpoint}/{remote.repo}/resolve/{remote.commit}/{quote(remote.file.path)}"

    def read(self, remote: Remote, start: int, end: int, sink: Sink) -> None:
        response = self._open(remote, start, end)
        try:
            skip = self._check(response, remote, start, end)
            _pour(response, skip, end - start, sink)
        except urllib3.exceptions.HTTPError as error:
            raise Passing(f"the connection broke: {type(error).__name__}", cause=error) from error
        finally:
            # A connection with bytes of this answer left in it is of no use for the next.
            response.release_conn() if _drained(response) else response.close()

    def locate(self, remote: Remote) -> str:
        """The address that serves the content without a token."""
        response = self._open(remote, 0, 1)
        response.close()
        if response.status >= 400:
            self._check(response, remote, 0, 1)
        return remote.direct or self.url(remote)

    # ------------------------------------------------------------------------------------------------ one request

    def _open(self, remote: Remote, start: int, end: int) -> Any:
        url = remote.direct or self.url(remote)
        for _ in range(REDIRECTS):
            response = self._get(url, {"Range": f"bytes={start}-{end - 1}"} if remote.file.size else {})
            if response.status not in (301, 302, 303, 307, 308):
                return response
            url = urljoin(url, response.headers.get("Location", ""))
            response.drain_conn()
            response.release_conn()
            if not self._own(url):
                remote.direct = url
        raise FetchFailed(f"fetch {remote.file.path} of {remote.repo}", f"{self.endpoint} redirects in a circle")

    def _get(self, url: str, headers: Mapping[str, str]) -> Any:
        sent = {"Accept-Encoding": "identity", "User-Agent": "orch", **headers}
        if self.token and self._own(url):  # to the Hub alone, never to whom it redirects to
            sent["Authorization"] = f"Bearer {self.token}"
        try:
            return self._pool(url).request(
                "GET", url, headers=sent, preload_content=False, redirect=False, retries=False, timeout=self._timeout
            )
        except urllib3.exceptions.HTTPError as error:
            if any(isinstance(one, ssl.SSLCertVerificationError) for one in problems.chain(error)):
                raise problems.network(f"fetch from {urlsplit(url).netloc}", error, self.endpoint) from error
            raise Passing(f"no answer from {urlsplit(url).netloc}", cause=error) from error

    def _own(self, url: str) -> bool:
        """Whether an address is the Hub itself: scheme, host and port."""
        return urlsplit(url)[:2] == urlsplit(self.endpoint)[:2]

    def _pool(self, url: str) -> Any:
        """One pool of connections for each proxy, or none, as the variables have it for this address."""
        parts = urlsplit(url)
        bypass = urllib.request.proxy_bypass(parts.hostname or "")
        proxies = {} if bypass else urllib.request.getproxies()
        proxy = proxies.get(parts.scheme) or proxies.get("all", "")
        with self._lock:
            if proxy not in self._pools:
                make = (
                    urllib3.ProxyManager(proxy, **self._options()) if proxy else urllib3.PoolManager(**self._options())
                )
                self._pools[proxy] = make
            return self._pools[proxy]

    def _options(self) -> dict[str, Any]:
        return {"maxsize": self._size, "num_pools": 8}

    # ------------------------------------------------------------------------------------------------- its answer

    def _check(self, response: Any, remote: Remote, start: int, end: int) -> int:
        """How many bytes of the body come before ``start``."""
        status = response.status
        if status == 206 and _content_range(response) == (start, remote.file.size):
            remote.ranged = True
            return 0
        if status == 200:
            remote.ranged = False  # it sends the whole file, whatever was asked for
            return start
        if status == 206:
            raise Passing(f"it sent another range: {response.headers.get('Content-Range')}", tries=3)
        if status in (403, 410, 404) and remote.direct:
            remote.direct = ""  # signed addresses expire; the Hub gives another one
            raise Passing(f"{status} from the storage behind the Hub")
        if status in (401, 403):
            if response.headers.get("X-Error-Code") == "GatedRepo":
                raise problems.gated(remote.repo, self.endpoint, token=bool(self.token))
            raise problems.refused(remote.repo, status, token=bool(self.token))
        if status == 404:
            why = f"the Hub lists {remote.file.path} and does not have it"
            raise FetchFailed(f"fetch {remote.repo}", why, "try again with --refresh")
        if status == 416:
            raise Passing("the file is shorter there than the Hub says (416)", tries=3)
        if status in (408, 425, 429) or status >= 500:
            raise Passing(f"{status} {response.reason or ''}".strip(), retry_after(response.headers))
        raise FetchFailed(f"fetch {remote.file.path} of {remote.repo}", f"the Hub answers {status}", "try again later")


def _pour(response: Any, skip: int, wanted: int, sink: Sink) -> None:
    buffer = memoryview(bytearray(min(BUFFER, max(wanted, 1))))
    while wanted:
        count = response.readinto(buffer[: min(len(buffer), skip or wanted)])
        if not count:
            return
        if skip:
            skip -= count
            continue
        sink(buffer[:count])
        wanted -= count


def _drained(response: Any) -> bool:
    return bool(response.length_remaining == 0)


def _content_range(response: Any) -> tuple[int, int] | None:
    """(first byte, size of the whole file)."""
    unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
    span, _, size = rest.partition("/")
    first = span.partition("-")[0]
    return (int(first), int(size)) if unit == "bytes" and first.isdigit() and size.isdigit() else None


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

    def __init__(self, endpoint: str, token: str | None) -> None:
        from hf_xet import XetSession

        self.endpoint, self.token = endpoint, token
        self._session = XetSession()
        self._groups: dict[str, Any] = {}
        self._lock = threading.Lock()

    def read(self, remote: Remote, start: int, end: int, sink: Sink) -> None:
        remote.ranged = True
        pieces = iter(_passing(lambda: self._group(remote).download_stream(_info(remote.file), start, end)))
        while (data := _passing(lambda: next(pieces, None))) is not None:
            sink(memoryview(data))

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
    """hf_xet raises whatever its Rust core says; it has tried again by itself by then."""
    try:
        return call()
    except (OSError, RuntimeError, ValueError) as error:
        raise Passing(f"Xet: {' '.join(str(error).split())[:200]}", cause=error) from error
