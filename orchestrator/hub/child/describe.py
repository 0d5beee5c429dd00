"""What the Hub tells of a model without a download: its list of files, and the first bytes of some of them."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from orchestrator.codec import to_json
from orchestrator.describe import describe
from orchestrator.errors import FetchFailed, HubUnreachable
from orchestrator.fit.description import pack
from orchestrator.fit.relatives import TREE, base_of
from orchestrator.hub.child.job import Job, Question, told
from orchestrator.hub.child.problems import Passing
from orchestrator.hub.child.remote import PATIENCE, PAUSES, Hub
from orchestrator.hub.child.sources import HttpSource, Remote
from orchestrator.model import RemoteFile, RepoUse

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo

AT_ONCE = 8
"""Files whose headers are read at one time: each takes two requests, and waits more than it reads."""
REPOS = 4
"""Repositories at one time."""
LISTED = 100
"""Relatives of a model that are listed, the most downloaded ones."""


def answers(job: Job) -> list[dict[str, Any]]:
    """To each question, in their order."""
    one = described if job.do == "describe" else relatives
    with ThreadPoolExecutor(REPOS) as pool:
        return list(pool.map(lambda question: one(job, question), job.questions))


def described(job: Job, question: Question) -> dict[str, Any]:
    """One repository that cannot be had does not hide the others. With ``error`` alone nothing is known; with both, the
    Hub lists the files and does not hand them out."""
    hub = Hub(job.endpoint, job.token)
    try:
        info = hub.info(question.repo, question.commit or question.revision)
        commit = str(info.sha)
        files = hub.files(question.repo, commit)
        use = RepoUse("model", question.repo, commit, load_format=question.load_format, variant=question.variant)
        http = HttpSource(job.endpoint, job.token, AT_ONCE, job.tuning.stall)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            piece = _pieces(http, question.repo, commit)
            found = describe(f"{question.repo}@{commit[:8]}", files, use, piece, pool.map)
    except FetchFailed as error:
        return {"error": told(error)}
    packed = pack(found) | {
        "commit": commit,
        "tags": list(info.tags or ()),
        "base_models": list(_bases(info)),
        "gated": bool(info.gated),
    }
    answer = {"description": packed, "files": [to_json(one) for one in files]}
    return answer | {"error": told(found.error)} if found.error else answer


def relatives(job: Job, question: Question) -> dict[str, Any]:
    """The model that this one is a form of, and what the Hub lists as forms of that."""
    hub = Hub(job.endpoint, job.token)
    try:
        info = hub.info(question.repo, question.commit or question.revision)
        base = base_of(question.repo, info.tags or (), _bases(info))
        owner, _, name = base.rpartition("/")
        found = {one.id: one for one in hub.models(base, LISTED, author=owner or None, search=name)}
        found |= {one.id: one for one in hub.models(base, LISTED, filter=f"{TREE}{base}")}
    except FetchFailed as error:
        return {"error": told(error)}
    listed = [{"repo": one.id, "tags": list(one.tags or ()), "downloads": one.downloads or 0} for one in found.values()]
    return {"base": base, "listed": sorted(listed, key=lambda one: str(one["repo"]))}


def _bases(info: "ModelInfo") -> tuple[str, ...]:
    """What the model's card names as its base."""
    told = getattr(info.card_data, "base_model", None) or ()
    tags = [tag.removeprefix("base_model:") for tag in info.tags or () if tag.startswith("base_model:")]
    named = [told] if isinstance(told, str) else [one for one in told if isinstance(one, str)]
    return tuple(dict.fromkeys(one for one in (*named, *tags) if ":" not in one))


def _pieces(http: HttpSource, repo: str, commit: str) -> Callable[[RemoteFile, int, int], bytes]:
    remotes: dict[str, Remote] = {}

    def piece(file: RemoteFile, start: int, end: int) -> bytes:
        if start >= end:
            return b""
        remote = remotes.setdefault(file.path, Remote(repo, commit, file))
        for tried, pause in enumerate((*PAUSES, None), 1):
            data = bytearray()
            try:
                http.read(remote, start, end, data.extend)
                return bytes(data)
            except Passing as passing:
                if pause is None or tried >= passing.tries or passing.after > PATIENCE:
                    raise _given_up(repo, file, passing) from passing
                time.sleep(max(pause, passing.after))
        raise AssertionError("the last try returns or raises")

    return piece


def _given_up(repo: str, file: RemoteFile, passing: Passing) -> FetchFailed:
    kind = FetchFailed if passing.answered else HubUnreachable
    return kind(f"read {file.path} of {repo}", str(passing), passing.do)
