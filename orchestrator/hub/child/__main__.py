"""One job from stdin to stdout. Whoever started this process ends it by ending: it never outlives it."""

import ctypes
import json
import os
import resource
import signal
import sys
from contextlib import suppress
from typing import Any

from orchestrator.codec import from_json, to_json
from orchestrator.errors import FetchFailed, OrchError
from orchestrator.hub.child.job import Job, Question

_SET_PDEATHSIG = 1  # prctl(2)


def main() -> int:
    job = from_json(Job, json.loads(sys.stdin.read()))
    _die_with(job.parent)
    _more_files()
    try:
        answer: dict[str, Any] = {"ok": True, "result": _do(job)}
    except OrchError as error:
        answer = {"ok": False, "error": {"what": error.what, "why": error.why, "do": error.do}}
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
    os._exit(0)  # the threads of the libraries have nothing left to say


def _do(job: Job) -> Any:
    if job.do == "fetch":
        from orchestrator.hub.child.fetch import fetch

        return fetch(job)
    if job.do == "remove":
        from orchestrator.hub.child.remove import remove

        return remove(job)
    return [_answer(job, question) for question in job.questions]


def _answer(job: Job, question: Question) -> dict[str, Any]:
    """One repository that cannot be had does not hide the others."""
    from orchestrator.hub.child.remote import Hub

    hub = Hub(job.endpoint, job.token)
    try:
        commit = question.commit or hub.commit(question.repo, question.revision)
        return {"commit": commit, "files": [to_json(one) for one in hub.files(question.repo, commit)]}
    except FetchFailed as error:
        return {"error": {"what": error.what, "why": error.why, "do": error.do}}


def _die_with(parent: int) -> None:
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if parent and os.getppid() != parent:  # it ended before this was set
        os._exit(1)


def _more_files() -> None:
    """Two open files for each that is fetched, and connections."""
    with suppress(OSError, ValueError):
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 65536) if most > 0 else 65536, most))


if __name__ == "__main__":
    sys.exit(main())
