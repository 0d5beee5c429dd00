"""What went wrong with the Hub, in words: from the exceptions of three libraries to cannot-why-do."""

import errno
import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

from orchestrator.errors import FetchFailed, HubRefused, HubUnreachable
from orchestrator.units import format_size

NETWORK = "check the network and the proxy variables, or name a mirror in HF_ENDPOINT"


class Passing(Exception):
    """May well succeed when tried again, at most ``tries`` times. ``after`` seconds are what the server asked for;
    ``do`` is what is left to do when it is given up; ``answered``: somebody was there to say so."""

    def __init__(
        self, why: str, do: str = "try again later", *, after: float = 0.0, tries: int = 1000, answered: bool = True
    ) -> None:
        super().__init__(why)
        self.do, self.after, self.tries, self.answered = do, after, tries, answered


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it came from, outermost first; libraries also keep a cause in ``reason`` or in args."""
    seen: set[int] = set()
    stack = [error]
    while stack:
        one = stack.pop(0)
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        stack += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]


def untrusted(error: BaseException) -> ssl.SSLCertVerificationError | None:
    return next((one for one in chain(error) if isinstance(one, ssl.SSLCertVerificationError)), None)


def network(what: str, error: BaseException, url: str) -> HubUnreachable:
    """A request to ``url`` that got no answer."""
    if found := untrusted(error):
        why = f"the certificate of {_host(url)} is not trusted ({found.verify_message})"
        return HubUnreachable(what, why, "name your proxy's or mirror's certificate authority in SSL_CERT_FILE")
    return HubUnreachable(what, no_way(error, url), NETWORK)


def no_way(error: BaseException, url: str) -> str:
    causes = list(chain(error))
    if any(isinstance(one, socket.gaierror) for one in causes):
        reason = "its name is not found"
    elif any("Timeout" in type(one).__name__ for one in causes):
        reason = "no answer in time"
    elif found := next((one for one in causes if isinstance(one, OSError) and one.strerror), None):
        reason = str(found.strerror).lower()
    else:
        reason = _brief(error)
    through = " through the proxy" if any(type(one).__name__ == "ProxyError" for one in causes) else ""
    return f"there is no way to {_host(url)}{through}: {reason}"


def _host(url: str) -> str:
    """Without a path, whose query may be a signature, and without a password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def gated(repo: str, endpoint: str, *, token: bool) -> HubRefused:
    page = f"{endpoint}/{repo}"
    if token:
        why = "its owners have not granted access to the account of this token"
        return HubRefused(f"fetch {repo}", why, f"ask for access at {page}")
    why = "it is gated, and no token was sent"
    mine = "then `hf auth login`, or secrets: {HF_TOKEN: {env: HF_TOKEN}} in the environment"
    do = f"ask for access at {page}, {mine}"
    return HubRefused(f"fetch {repo}", why, do)


def refused(repo: str, status: int, *, token: bool) -> HubRefused:
    if token:
        return HubRefused(f"fetch {repo}", f"the Hub refuses this token ({status})", "check it, or make another one")
    do = "name your token in the environment: secrets: {HF_TOKEN: {env: HF_TOKEN}}"
    return HubRefused(f"fetch {repo}", f"the Hub wants a token for it ({status})", do)


def unwritable(what: str, error: OSError, place: str) -> FetchFailed:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        why = f"the disk of {place} is full"
        do = "free some space (`orch models` lists what is cached) and repeat: what came is kept"
        return FetchFailed(what, why, do)
    why = f"{error.filename or place}: {(error.strerror or str(error)).lower()}"
    return FetchFailed(what, why, "make it writable, or name another folder with cache.hf_home")


def no_space(what: str, needed: int, free: int, margin: int, place: str) -> FetchFailed:
    why = (
        f"{format_size(needed)} are still to come and {place} has {format_size(free)} free: "
        f"{format_size(needed + margin - free)} are missing (with {format_size(margin)} to spare)"
    )
    return FetchFailed(what, why, "free some space there (`orch models` lists what is cached), or set cache.hf_home")


def _brief(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:300] + " ..."
