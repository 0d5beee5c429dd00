"""A Hugging Face Hub on loopback, for the real huggingface_hub, the real hf_xet and any client of plain HTTP.

    with Hub() as hub:
        commit = hub.add("org/model", {"config.json": b"{}", "model.safetensors": Path("weights")})
        hub.fault("reset", "model.safetensors", after=1000)
        ...                              # HF_ENDPOINT=hub.endpoint
        assert hub.sent("model.safetensors") == ...

Three origins, as in reality: the Hub, the ``cdn`` to which it redirects for LFS files, and the ``cas`` of Xet. Here is
what a test sees of it; ``hub_store`` has the repositories, ``hub_api`` the answers, ``hub_xet`` the storage of Xet,
``hub_wire`` the sending, ``hub_faults`` what goes wrong. A client in the test's own process must let other threads
run, which hf_transfer does not. Left out: repositories without a namespace, datasets, spaces, long trees, uploads.
"""

import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType

from fakes.hub_api import Api, refusal
from fakes.hub_faults import Fault, Faults, Kind, On
from fakes.hub_store import Repo, make_file
from fakes.hub_wire import Name, Origin, Request, Wire


class Hub:
    """Listens as long as the ``with`` block lasts; all its threads end there.

    Two settings are on ``api``: ``resolve_cache = True`` puts small files behind a redirect to another path of the Hub
    itself, as the real one does today for some; ``token_life`` is how many seconds a token for Xet is good for.
    """

    def __init__(self, *, tls: bool = False) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="fake-hub-")
        self.certificate = certificate(Path(self.folder.name)) if tls else None
        context = None
        if self.certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate)
        self.api = Api()
        self.wire = Wire(self.api.answer, refusal)
        hosts: dict[Name, str] = {"hub": "127.0.0.1", "cdn": "localhost", "cas": "127.0.0.1"}
        self.origins = [Origin(name, host, self.wire, context) for name, host in hosts.items()]
        self.endpoint, self.cdn, self.cas = (origin.url for origin in self.origins)
        self.api.endpoint, self.api.cdn, self.api.cas = self.endpoint, self.cdn, self.cas

    def __enter__(self) -> "Hub":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        for origin in self.origins:
            origin.start()

    def stop(self) -> None:
        """Down: connections are refused, the living ones are dropped; ``start`` comes back on the same ports."""
        for origin in self.origins:
            origin.stop()

    def close(self) -> None:
        self.stop()
        for origin in self.origins:
            origin.close()
        self.folder.cleanup()

    # ---------------------------------------------------------------------------------------------- what it holds

    def add(
        self,
        repo: str,
        files: Mapping[str, bytes | Path],
        *,
        revision: str = "main",
        lfs: Collection[str] | None = None,
        gated: bool = False,
        private: bool = False,
        token: str | None = None,
        xet: bool = False,
        sizes: Mapping[str, int] | None = None,
        labels: Collection[str] = (),
        downloads: int = 0,
    ) -> str:
        """A commit on the branch ``revision`` whose tree is exactly ``files``; its name.

        ``lfs`` holds patterns; without it, the usual names of weights and everything from 1 MiB on are LFS. ``gated``
        and ``private`` are the repository's from now on, and only ``token`` opens it. ``sizes`` announces other
        sizes than the true ones, for a disk that is too small. ``labels`` are what models are filtered by, and
        ``downloads`` what they are sorted by.
        """
        found = self.api.repos.setdefault(repo, Repo(repo))
        found.gated, found.private, found.token = gated, private, token
        found.labels, found.downloads = tuple(labels), downloads
        made = [make_file(path, data, lfs, xet, (sizes or {}).get(path)) for path, data in files.items()]
        return found.push(made, revision).sha

    def tag(self, repo: str, name: str, commit: str) -> None:
        self.api.repos[repo].tags[name] = commit

    def revoke(self, token: str) -> None:
        """Every other token is that of some account; this one is nobody's."""
        self.api.revoked.add(token)

    def expire(self) -> None:
        """The URLs of the cdn handed out so far answer 403 from now on; the Hub signs new ones."""
        self.api.expired = self.api.signed

    # ------------------------------------------------------------------------------------------- what goes wrong

    @property
    def faults(self) -> Faults:
        return self.wire.faults

    def fault(
        self,
        kind: Kind,
        match: str = "",
        times: int | None = 1,
        *,
        on: On = "body",
        after: int = 0,
        offset: int = 0,
        status: int = 503,
        headers: Mapping[str, str] | None = None,
    ) -> Fault:
        """Adds one of these, for the next ``times`` answers (None: all) whose path holds ``match``.

        - ``reset``: RST after ``after`` bytes of the answer, all of which the client gets.
        - ``close``: an orderly end after ``after`` bytes, though Content-Length announces all.
        - ``stall``: nothing after ``after`` bytes until ``release``.
        - ``status``: ``status`` with ``headers`` in the answer's place.
        - ``corrupt``: another byte at ``offset`` of the file; in a range, counted only if it is in there.
        - ``truncate``: ``after`` bytes at most, and Content-Length and Content-Range say no other.
        - ``wrong_range``: 206 with as many bytes as asked for from the file's start, as Content-Range says.
        - ``no_range``: 200 and everything whatever Range says; always.

        ``on`` is ``body``, a GET answered with bytes of a file (by the Hub, by the cdn or as a xorb of Xet);
        ``resolve``, one answered with a redirect; ``head``, any HEAD; ``api``, all of /api; or ``cas``, what hf_xet
        asks before it fetches. Only ``status`` is for more than bodies.
        """
        return self.faults.add(Fault(kind, match, times, on, after, offset, status, dict(headers or {})))

    def gate(self, match: str = "", after: int = 0, times: int | None = 1) -> Fault:
        """A stall to wait for: ``gate.reached.wait(5)``, then ``gate.release()``."""
        return self.fault("stall", match, times, after=after)

    def release(self) -> None:
        """All that is held goes on."""
        for fault in self.faults:
            fault.release()

    @property
    def rate(self) -> float | None:
        """Bytes a second on each connection; None: as fast as it goes. It counts at once, for running bodies too."""
        return self.wire.rate

    @rate.setter
    def rate(self, rate: float | None) -> None:
        self.wire.rate = rate

    # ------------------------------------------------------------------------------------------------ what it saw

    @property
    def requests(self) -> list[Request]:
        return self.wire.requests

    def sent(self, match: str = "", origin: Name | None = None) -> int:
        """Bytes of files that were handed to the kernel, for the paths (and queries) that hold ``match``."""
        told = (request for request in self.requests if match in request.path)
        return sum(request.sent for request in told if origin in (None, request.origin))


def certificate(folder: Path) -> Path:
    """Key and certificate for this machine's loopback, signed by themselves, in one file."""
    if not (openssl := shutil.which("openssl")):
        raise RuntimeError("cannot make a certificate: there is no openssl command; install openssl")
    pem = folder / "hub.pem"
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(folder / "key.pem")]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run(
        [openssl, "req", "-x509", *key, *names, "-out", str(folder / "cert.pem")], check=True, capture_output=True
    )
    pem.write_text((folder / "key.pem").read_text() + (folder / "cert.pem").read_text())
    return pem
