"""The process that talks to the Hub, as this process sees it: started at the first question, asked one job at a time,
and gone whenever either of the two ends."""

import json
import sys
from collections.abc import Mapping
from typing import Any

from orchestrator.codec import from_json, to_json
from orchestrator.errors import FetchFailed
from orchestrator.hub.child.job import Job, failure
from orchestrator.model import Pull
from orchestrator.ports import FetchEvents
from orchestrator.shell import Conversation

COMMAND = (sys.executable, "-P", "-m", "orchestrator.hub.child")


class Child:
    """``env`` is its whole environment. A job's token travels on its stdin."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self._talk: Conversation | None = None
        self._events: FetchEvents | None = None
        self._noise: list[str] = []

    def do(self, job: Job, events: FetchEvents | None = None, timeout: float | None = None) -> Any:
        """The result. ``events`` hears of the progress, from another thread; ``timeout`` in seconds. Raises
        FetchFailed; whatever interrupts it ends the process, and what came is kept."""
        self._events, self._noise = events, []
        talk = self._talk = self._talk or Conversation(COMMAND, self._env, self._hear)
        try:
            answer = talk.ask(json.dumps(to_json(job)), timeout)
        except BaseException:
            self._talk = None
            raise
        if answer is None:
            self._talk = None
            why = next((line.strip() for line in reversed(self._noise) if line.strip()), "it gave no answer")
            raise FetchFailed("talk to the Hub", why, "try again; if it stays so, please report it")
        told = json.loads(answer)
        if not told["ok"]:
            raise failure(told["error"])
        return told["result"]

    def close(self) -> None:
        if self._talk:
            self._talk.end()
            self._talk = None

    def _hear(self, line: str) -> None:
        event = _event(line)
        if event is None:
            self._noise.append(line)  # what a library writes by itself
        elif self._events and "pull" in event:
            self._events.pull(from_json(Pull, event["pull"]))
        elif self._events and "say" in event:
            self._events.say(str(event["say"]))


def _event(line: str) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None
