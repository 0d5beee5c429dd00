"""What can be asked of the way an engine ended."""

from collections.abc import Callable, Mapping, Sequence

from orchestrator.diagnosis.errors_of import find
from orchestrator.diagnosis.model import Ending, Line
from orchestrator.model import Scalar

CONDITIONS: Mapping[str, Callable[[Ending, Sequence[Line]], bool]] = {
    "before_ready": lambda ending, _: ending.before_ready,
    "ready": lambda ending, _: not ending.before_ready,
    "timed_out": lambda ending, _: ending.timed_out,
    "hung": lambda ending, _: ending.hung,
    "waited": lambda ending, _: ending.timed_out or ending.hung,  # it lived, and somebody had waited long enough
    "vanished": lambda ending, _: ending.vanished,
    "oom_killed": lambda ending, _: ending.oom_killed is True,
    "not_oom_killed": lambda ending, _: ending.oom_killed is not True,
    "wordless": lambda ending, lines: find(lines, ending).first is None,  # no process says what the matter is
    "silent": lambda _, lines: not any(line.level and line.process for line in lines),
}
"""What may stand in `Signature.endings`, beside "signal N", "code N" and "fact NAME"."""


def holds(condition: str, ending: Ending, lines: Sequence[Line], facts: Mapping[str, Scalar]) -> bool:
    """KeyError for a condition that does not exist."""
    kind, _, what = condition.partition(" ")
    if kind == "signal":
        return ending.signal == int(what)
    if kind == "code":
        return ending.code == int(what)
    if kind == "fact":
        return bool(facts.get(what))
    return CONDITIONS[condition](ending, lines)
