"""One look at an engine that became ready: the states of its processes, /health, and the few lines of /metrics that
tell whether it moves. Made to be done every half minute for months: one process, no threads, a millisecond or two."""

import json
import re
import time
from collections.abc import Mapping

from orchestrator import wire
from orchestrator.liveness import Canary, Lane, Sample
from orchestrator.model import Endpoint, Instance, Json
from orchestrator.vitals import LEADER, compiler, members

TIMEOUT = 5.0  # seconds for /health and for /metrics: an API server under load may take one or two
CANARY_TIMEOUT = 60.0  # seconds for one token; what an idle engine may have to read back from a disk before
UNASKABLE = "its host or its API key holds characters that cannot be sent"
QUESTIONS: Mapping[str, Mapping[str, Json]] = {
    "/v1/completions": {"prompt": "a", "max_tokens": 1},
    "/v1/embeddings": {"input": "a"},
}
"""In this order: a model that makes embeddings has no completions, and its API server says so by itself."""
_RUNNING, _WAITING, _SLEEP = b"num_requests_running", b"num_requests_waiting", b"engine_sleep_state"
_CACHE = (b"kv_cache_usage_perc", b"gpu_cache_usage_perc")  # the second until 0.9
_PROGRESS = (
    b"prompt_tokens_total",
    b"generation_tokens_total",
    b"iteration_tokens_total_count",
    b"num_preemptions_total",
)
"""What only the engine itself can move. Not request_success_total: an abort by the client may count there."""
_LINE = re.compile(
    rb"\nvllm:("
    + b"|".join((_RUNNING, _WAITING, _SLEEP, *_CACHE, *_PROGRESS))
    + rb")(?:\{([^\n]*)\})? ([0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)(?=\s)"
)
_ENGINE = re.compile(rb'engine="([^"]*)"')
_ANSWERED = re.compile(rb"\nhttp_requests_total\{([^\n]*)\} ([0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)(?=\s)")


class HttpPulse:
    def __init__(self, timeout: float = TIMEOUT, canary_timeout: float = CANARY_TIMEOUT) -> None:
        self.timeout, self.canary_timeout = timeout, canary_timeout

    def sample(self, instance: Instance, endpoint: Endpoint) -> Sample:
        """The API key guards /v1 alone, so none is needed."""
        at, found = time.monotonic(), members(instance)
        if any(one.name == LEADER and one.state in {"T", "t"} for one in found):
            return Sample(at, False, "its API server is stopped", members=found)
        try:
            status, _ = wire.ask(endpoint, "/health", timeout=self.timeout)
        except (OSError, wire.Unaskable) as error:
            return Sample(at, False, _reason(error, self.timeout), members=found)
        lanes, finished, asleep = parse(self._counters(endpoint))
        why = "" if status == 200 else f"answers {status}"
        works = any(one.running for one in lanes)
        return Sample(at, not why, why, lanes, finished, found, asleep, compiler(found) if works else "")

    def canary(self, endpoint: Endpoint, name: str, token: str | None) -> Canary:
        at = time.monotonic()
        try:
            status = self._one_token(endpoint, name, token)
        except wire.Unaskable:  # which says nothing of the engine
            return Canary(at, time.monotonic(), True, UNASKABLE)
        except OSError as error:
            paused = self._paused(endpoint)
            why = "it is paused" if paused else _reason(error, self.canary_timeout)
            return Canary(at, time.monotonic(), paused, why)
        return Canary(at, time.monotonic(), True, f"answers {status}")

    def _one_token(self, endpoint: Endpoint, name: str, token: str | None) -> int:
        status = 0
        for path, question in QUESTIONS.items():
            body = json.dumps({"model": name, **question}).encode()
            status, _ = wire.ask(endpoint, path, token, body, timeout=self.canary_timeout)
            if status not in {400, 404, 405}:
                break
        return status

    def _counters(self, endpoint: Endpoint) -> bytes:
        try:
            status, body = wire.ask(endpoint, "/metrics", timeout=self.timeout)
        except OSError:
            return b""
        return body if status == 200 else b""

    def _paused(self, endpoint: Endpoint) -> bool:
        """Whoever trains a model pauses its engine; only the engine itself knows, and only in its development mode."""
        try:
            status, body = wire.ask(endpoint, "/is_paused", timeout=self.timeout)
        except OSError:
            return False
        return status == 200 and b"true" in body


def parse(text: bytes) -> tuple[tuple[Lane, ...], float, bool]:
    """Of a page of metrics: the lanes by name, the posts that were answered well, and whether the engine sleeps."""
    values: dict[str, dict[bytes, float]] = {}
    asleep = False
    for found in _LINE.finditer(text):
        name, labels, number = found[1], found[2] or b"", float(found[3])
        if name == _SLEEP:
            asleep = asleep or (b'sleep_state="awake"' in labels and number == 0)
            continue
        engine = _ENGINE.search(labels)
        lane = values.setdefault(engine[1].decode(errors="replace") if engine else "0", {})
        lane[name] = lane.get(name, 0.0) + number
    answered = ((found[1], float(found[2])) for found in _ANSWERED.finditer(text))
    finished = sum(count for labels, count in answered if b'method="POST"' in labels and b'status="2' in labels)
    return tuple(_lane(name, values[name]) for name in sorted(values)), finished, asleep


def _lane(name: str, values: Mapping[bytes, float]) -> Lane:
    return Lane(
        name=name,
        running=values.get(_RUNNING, 0.0),
        waiting=values.get(_WAITING, 0.0),
        progress=sum(values.get(one, 0.0) for one in _PROGRESS),
        cache=sum(values.get(one, 0.0) for one in _CACHE),
    )


def _reason(error: Exception, seconds: float) -> str:
    if isinstance(error, wire.Unaskable):
        return UNASKABLE
    if isinstance(error, TimeoutError):
        return f"no answer within {seconds:g} s"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens on its port"
    return str(error) or type(error).__name__
