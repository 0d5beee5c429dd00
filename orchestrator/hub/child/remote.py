"""The Hub's answers about repositories, through huggingface_hub: commits, file lists, and what to say when there is
no answer."""

import difflib
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator.errors import FetchFailed, HubRefused
from orchestrator.findings import did_you_mean
from orchestrator.hub.child import problems
from orchestrator.hub.child.sources import BUSY, retry_after
from orchestrator.model import RemoteFile

if TYPE_CHECKING:
    from huggingface_hub import HfApi, ModelInfo

PAUSES = (0.5, 1.0, 2.0)
"""Seconds between the tries of one question: a person waits for the answer."""
PATIENCE = 20.0
"""Seconds of a Retry-After that are waited out; a person who wants to wait longer asks again."""
TIMEOUT = 10.0

T = TypeVar("T")


class Hub:
    def __init__(self, endpoint: str, token: str | None, pauses: tuple[float, ...] = PAUSES) -> None:
        self.endpoint, self.token, self._pauses = endpoint.rstrip("/"), token, pauses

    @property
    def api(self) -> "HfApi":
        from huggingface_hub import HfApi

        return HfApi(endpoint=self.endpoint, token=self.token or False)

    def commit(self, repo: str, revision: str) -> str:
        """Of a commit, itself, if there is one."""
        return str(self.info(repo, revision).sha)

    def info(self, repo: str, revision: str) -> "ModelInfo":
        return self._ask(repo, revision, lambda: self.api.model_info(repo, revision=revision, timeout=TIMEOUT))

    def models(self, repo: str, limit: int, **asked: Any) -> "list[ModelInfo]":
        """Those that ``asked`` finds, the most downloaded first; for the sake of ``repo``."""
        return self._ask(repo, "main", lambda: list(self.api.list_models(sort="downloads", limit=limit, **asked)))

    def files(self, repo: str, commit: str) -> tuple[RemoteFile, ...]:
        """All of them, sorted by path."""
        found = self._ask(repo, commit, lambda: self._tree(repo, commit))
        return tuple(sorted((_file(one) for one in found if one["type"] == "file"), key=lambda one: one.path))

    def _tree(self, repo: str, commit: str) -> list[dict[str, Any]]:
        """What list_repo_tree asks; but that tries again by itself, for half a minute, or for as long as it is told."""
        from huggingface_hub import get_session, hf_raise_for_status
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        url, found = f"{self.endpoint}/api/models/{repo}/tree/{commit}?recursive=true", []
        while url:
            token = self.token if url.startswith(f"{self.endpoint}/") else None  # to nobody but the Hub
            answer = get_session().get(url, headers=build_hf_headers(token=token or False), timeout=TIMEOUT)
            hf_raise_for_status(answer)
            found += answer.json()
            url = answer.links.get("next", {}).get("url", "")
        return found

    def _ask(self, repo: str, revision: str, question: Callable[[], T]) -> T:
        from huggingface_hub import errors

        for pause in (*self._pauses, None):
            try:
                return question()
            except errors.GatedRepoError:  # a subclass of the next: first
                raise problems.gated(repo, self.endpoint, token=bool(self.token)) from None
            except errors.RepositoryNotFoundError as error:
                raise self._no_repo(repo, error) from None
            except errors.RevisionNotFoundError:
                raise self._no_revision(repo, revision) from None
            except errors.HfHubHTTPError as error:
                asked = retry_after(error.response.headers) or 0.0
                if pause is None or asked > PATIENCE or error.response.status_code not in BUSY:
                    raise self._answered(repo, error) from None
                time.sleep(max(asked, pause))
            except Exception as error:  # whatever the HTTP client of this version raises
                if pause is None or not _may_pass(error):
                    raise problems.network(f"find {repo} on the Hub", error, self.endpoint) from error
                time.sleep(pause)
        raise AssertionError("the last try returns or raises")

    # ---------------------------------------------------------------------------------------------- in other words

    def _no_repo(self, repo: str, error: Any) -> HubRefused:
        what = f"find {repo} on the Hub"
        if error.response is not None and error.response.status_code == 401 and self.token:
            return HubRefused(what, "the Hub refuses this token (401)", "check it, or make another one")
        why = "there is no such repository" if self.token else "there is no such repository, or it is private"
        known = "" if self.token else "if it is private, name your token: secrets: {HF_TOKEN: {env: HF_TOKEN}}"
        if close := self._similar(repo):
            return HubRefused(what, why, f"did you mean {close}?")
        return HubRefused(what, why, known or "check its name, and what this token may read")

    def _similar(self, repo: str) -> str:
        """The name that was probably meant. A question of courtesy: without an answer there is none."""
        owner, _, name = repo.rpartition("/")
        names: set[str] = set()
        for author, search in ((owner, name[:6]), (None, name), (owner, None)):
            try:
                names |= {one.id for one in self.api.list_models(limit=50, author=author, search=search)}
            except Exception:  # noqa: BLE001
                return ""
        close = difflib.get_close_matches(repo.lower(), [one.lower() for one in names], n=1, cutoff=0.75)
        return next((one for one in sorted(names) if close and one.lower() == close[0]), "")

    def _no_revision(self, repo: str, revision: str) -> HubRefused:
        what = f"find revision {revision} of {repo}"
        try:
            refs = self.api.list_repo_refs(repo)
            names = sorted({one.name for one in (*refs.branches, *refs.tags)})
        except Exception:  # noqa: BLE001 (a courtesy, as above)
            names = []
        there = f"there is {', '.join(names[:20])}" if names else "look at its history on the Hub"
        do = did_you_mean(revision, names) or there
        return HubRefused(what, "the repository has no such branch, tag or commit", do)

    def _answered(self, repo: str, error: Any) -> FetchFailed:
        status = error.response.status_code
        if status in (401, 403):
            return problems.refused(repo, status, token=bool(self.token))
        text = f"the Hub answers {status} {error.response.reason_phrase}".rstrip()
        asked = retry_after(error.response.headers)
        return FetchFailed(
            f"find {repo} on the Hub", text, f"try again in {asked:.0f} s" if asked else "try again later"
        )


def _file(one: Mapping[str, Any]) -> RemoteFile:
    large = one.get("lfs") or {}
    return RemoteFile(
        one["path"], large.get("size", one["size"]), large.get("oid", one["oid"]), one.get("xetHash") or ""
    )


def _may_pass(error: BaseException) -> bool:
    """A connection that broke may hold the next time; a name that is not found or a certificate will not change."""
    import socket
    import ssl

    fatal = (socket.gaierror, ssl.SSLCertVerificationError, ValueError)
    return not any(isinstance(one, fatal) for one in problems.chain(error))
