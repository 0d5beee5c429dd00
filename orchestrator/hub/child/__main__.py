"""Jobs from stdin to stdout, a line each, until stdin ends. Whoever started this process ends it by ending: it never
outlives it."""

import ctypes
import json
import os
import signal
import sys
from contextlib import suppress
from typing import Any

from orchestrator.codec import from_json, to_json
from orchestrator.errors import FetchFailed, OrchError
from orchestrator.hub.child.job import Job, Question, told

_SET_PDEATHSIG = 1  # prctl(2)


def main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # at once, as by SIGTERM: nothing needs an orderly end
    for line in sys.stdin:
        job = from_json(Job, json.loads(line))
        _die_with(job.parent)
        sys.stdout.write(json.dumps(_answer(job)) + "\n")
        sys.stdout.flush()
    os._exit(0)  # the threads of the libraries have nothing left to say


def _answer(job: Job) -> dict[str, Any]:
    try:
        return {"ok": True, "result": _do(job)}
    except OrchError as error:
        return {"ok": False, "error": told(error)}


def _do(job: Job) -> Any:
    if job.do == "fetch":
        from orchestrator.hub.child.fetch import fetch

        return fetch(job)
    if job.do == "adopt":
        from orchestrator.hub.child.adopt import adopt

        return adopt(job)
    if job.do == "remove":
        from orchestrator.hub.child.remove import remove

        return remove(job)
    if job.do in ("describe", "variants"):
        from orchestrator.hub.child.describe import answers

        return answers(job)
    return [_listed(job, question) for question in job.questions]


def _listed(job: Job, question: Question) -> dict[str, Any]:
    """One repository that cannot be had does not hide the others."""
    from orchestrator.hub.child.remote import Hub

    hub = Hub(job.endpoint, job.token)
    try:
        commit = hub.commit(question.repo, question.commit or question.revision)
        return {"commit": commit, "files": [to_json(one) for one in hub.files(question.repo, commit)]}
    except FetchFailed as error:
        return {"error": told(error)}


def _die_with(parent: int) -> None:
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if parent and os.getppid() != parent:  # it ended before this was set
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
