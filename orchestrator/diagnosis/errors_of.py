"""Which lines of a log tell of an error, and which of those came first."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from orchestrator.diagnosis.literals import Quick
from orchestrator.diagnosis.model import Ending, Line

_QUIET = frozenset(("DEBUG", "INFO", "WARNING"))
_EXCEPTION = re.compile(
    r"(?:[A-Za-z_][\w.]*\.)?"
    r"(?:(?:[A-Z]\w*)?(?:Error|Exception|Interrupt|Exit|Exceeded|Timeout|Refused|Failure|Enabled))(?:: |$)"
)
_FATAL = Quick(
    r"(?:\S+: error: |.{0,200}: fatal error: |.{0,40}/ld: |Fatal Python error|\*\*\* SIG|terminate called|Killed\b"
    r"|.{0,80}(?:Bus error|Illegal instruction|Segmentation fault)|.{0,80}NCCL WARN|.{0,40}NVRM: )"
)
_ECHO = Quick(
    r"Engine core initialization failed|WorkerProc initialization failed|[Ss]ee (?:the )?(?:stack trace|root cause)"
    r"|Engine process failed to start|EngineDeadError|EngineCore encountered an issue|Engine loop is not running"
    r"|died unexpectedly|got fatal signal|failed to start\.|hit an exception|encountered a fatal error"
    r"|Error executing method|Exception in worker|Exception in callback|Broken pipe|ConnectionResetError|cancelled"
    r"|MessageQueue|Frontend process failed|Application startup failed|CancelledError|KeyboardInterrupt|SystemExit"
)
"""What a process says of another one that failed, or before it says what the matter is."""
_AGAIN = Quick(r"\bretrying\b|[Rr]etry(?:ing)? \d|falling back|Falling back")
_READY = Quick(r"Application startup complete|Started server process.*Uvicorn running")
_SERVES = Quick(r'Application startup complete|HTTP/[\d.]+" 200|Avg prompt throughput')
_DIES = Quick(
    r"hit an exception|encountered a fatal error|died unexpectedly|EngineDeadError|Fatal Python error|\*\*\* SIG"
    r"|output_handler failed|EngineCore encountered an issue"
)


@dataclass(frozen=True, slots=True)
class Trouble:
    """``errors``: lines that tell of one, oldest first, without the frames of tracebacks; ``frames`` those. ``first``:
    the first error of the first process that failed, ``last`` the one that this process ended with."""

    errors: tuple[Line, ...]
    first: Line | None = None
    last: Line | None = None

    def root(self, line: Line) -> bool:
        """It comes from the process that failed first."""
        return self.first is not None and _process(line) == _process(self.first)


def tells(line: Line) -> bool:
    """Of an error: by its level or, where it has none, by its form."""
    if line.level:
        return line.level not in _QUIET
    return bool(_EXCEPTION.match(line.text) or _FATAL.match(line.text))


def was_ready(lines: Sequence[Line]) -> bool:
    return any(_READY.search(line.text) for line in lines)


def find(lines: Sequence[Line], ending: Ending) -> Trouble:
    """Of the lines of a log, behind those of the kernel's (number 0)."""
    kernel = [line for line in lines if line.number == 0]
    errors = tuple(_errors([*kernel, *_end_of(lines[len(kernel) :], ending)]))
    for tells_why in (_formed, _labelled):
        if first := next((line for line in errors if tells_why(line)), None):
            process = _process(first)
            last = next(line for line in reversed(errors) if _process(line) == process and tells_why(line))
            return Trouble(errors, first, last if last is not first else None)
    return Trouble(errors)


def _formed(line: Line) -> bool:
    text = line.text
    return bool(_EXCEPTION.match(text) or _FATAL.match(text)) and not _ECHO.search(text)


def _labelled(line: Line) -> bool:
    return bool(line.level) and not _ECHO.search(line.text)


def after(line: Line, lines: Sequence[Line]) -> Line | None:
    """What the same process says next: an exception with several lines says the most in its second."""
    return next((one for one in lines if one.number > line.number and _process(one) == _process(line)), None)


def _process(line: Line) -> tuple[str, int]:
    return line.process, line.pid


def _end_of(lines: Sequence[Line], ending: Ending) -> Sequence[Line]:
    """Of an engine that had been ready, what it said since it last served: errors of single requests are no end. That
    it was ready, a log may no longer tell whose beginning is lost."""
    if ending.before_ready and not was_ready(lines):
        return lines
    dies = next((at for at, line in enumerate(lines) if _DIES.search(line.text)), None)
    if dies is None and ending == Ending():
        return lines
    until = len(lines) if dies is None else dies
    served = next((at for at in reversed(range(until)) if _SERVES.search(lines[at].text)), None)
    return lines if served is None else lines[served + 1 :]


def _errors(lines: Sequence[Line]) -> Iterator[Line]:
    """A line of a level below ERROR is none, nor is one that speaks of another try; lines without a level are what
    libraries, compilers and the kernel print. The frames of a traceback go from its head to the first line that is not
    indented, each process by itself."""
    inside: set[tuple[str, int]] = set()
    for line in lines:
        text, quiet = line.text, line.level in _QUIET
        if "Traceback (" in text and text.lstrip(" |+").startswith("Traceback (most recent call last)"):
            inside.add(_process(line))
        elif quiet or (inside and text[0] in " \t" and _process(line) in inside):
            continue
        else:
            if inside:
                inside.discard(_process(line))
            if not _AGAIN.search(text):
                yield line
