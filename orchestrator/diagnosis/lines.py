"""The lines of an engine's log, whatever wrapped them. Read off logs of vLLM 0.8 to 0.33, as quoted in its issues and
as recorded here.

    (EngineCore_DP0 pid=940) ERROR 02-24 20:21:58 [core.py:708] ValueError: ...     0.10 to 0.31: every line
    (VllmWorker rank=0 pid=3) ...  (RayWorkerWrapper pid=5, ip=10.0.0.1) ...        up to 0.10, and with Ray
    (Worker pid=7) (Worker_TP1 pid=7) ERROR ...                                     both, the later is the better name
    Traceback (most recent call last):                                              0.32 on: only records have a prefix
    17:02 any prefix ERROR 02-24 20:21:58 [core.py:708] ...                         VLLM_LOGGING_PREFIX, or a wrapper's
    [rank0]: ...   vllm-1  | ...   2024-06-28T06:11:52.6Z ...   Aug 19 18:30:22 host vllm[9]: ...   by whoever kept it
"""

import re
from collections.abc import Iterator

from orchestrator.diagnosis.literals import Quick
from orchestrator.diagnosis.model import Line

ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_OUTER = re.compile(
    r"[\w.-]{1,80}-\d+ +\| ?"  # docker compose
    r"|\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)\]? ?"  # docker, kubernetes, buildkite
    r"|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S{1,80} [\w@./-]{1,80}\[\d+\]: ?"  # the journal
    r"|\[rank\d+\]: ?"  # torch
)
_PROCESS = re.compile(r"\(([A-Za-z][\w.()-]{0,80})(?: [a-z]+=[^\s(),]{1,40})*? pid=(\d{1,9})(?:, [^()\n]{1,80})?\) ?")
_BAR = re.compile(r"\d%\||(?:it|s|B)/s\b|s/it\b|\d% Completed \|")
_GLUED = re.compile(
    r"^.*?(?:it/s|s/it)[^\]]{0,60}\]"
    r"(?=\s*(?:\([A-Za-z]\w+ [^()]{0,60}pid=|(?:ERROR|WARNING|INFO) \d\d-))"
)
"""A bar that another line follows, without a line feed between them."""
_HEADER = re.compile(
    r"(DEBUG|INFO|WARNING|ERROR|CRITICAL)(?::? +|:)(?:(?:\d{4}-)?\d\d-\d\d \d\d:\d\d:\d\d(?: |$))?"
    r"(?:\[?[\w./-]{1,80}\.pyx?:\d+\](?: |$))?"
)
_RECORD = Quick(
    r".{1,160}?(?:(?<=\s)|(?<=\)))"
    r"(?=(?:DEBUG|INFO|WARNING|ERROR|CRITICAL) \d\d-\d\d \d\d:\d\d:\d\d \[?[\w./-]{1,80}\.pyx?:\d+\])"
)
"""What stands before one of vLLM's own records, of whatever kind."""
_WARNED = Quick(r"(?<!\S)\S{0,400}: \w{0,40}Warning: |^\w{1,40}Warning: ")
_LONGEST = 8192  # characters; what tells stands at the front, and no pattern may take long
_MOST_WRAPS = 4  # a journal around docker around kubernetes


def read(text: str) -> tuple[Line, ...]:
    """The lines that say something, in order. Numbers count line feeds, as an editor does. Takes any text."""
    return tuple(_each(text))


def _each(text: str) -> Iterator[Line]:
    said = text.lstrip("\n")
    for number, raw in enumerate(said.split("\n"), 1 + len(text) - len(said)):
        for piece in _pieces(ANSI.sub("", raw) if "\x1b" in raw else raw):
            if (line := _line(number, piece)).text.strip():
                yield line


def _pieces(raw: str) -> list[str]:
    """What a terminal would show last, of states that overwrite each other, and whatever is no such state."""
    if "\r" not in raw:
        return [raw]
    said = [piece for piece in raw.split("\r") if piece.strip()]
    return [piece for piece in said[:-1] if not _BAR.search(piece)] + said[-1:]


def _line(number: int, raw: str) -> Line:
    text, process, pid = raw[:_LONGEST], "", 0
    if not text.isprintable():
        text = _CONTROL.sub("", text)
    text = _GLUED.sub("", text, count=1).rstrip() if "it/s" in text or "s/it" in text else text.rstrip()
    for _ in range(_MOST_WRAPS):
        if found := _OUTER.match(text):
            text = text[found.end() :]
        elif found := _PROCESS.match(text):
            process, pid, text = found[1], int(found[2]), text[found.end() :]
        elif (found := _HEADER.match(text)) and _PROCESS.match(text, found.end()):
            text = text[found.end() :]
        else:
            break
    if not _HEADER.match(text) and (found := _RECORD.match(text)):
        named = _PROCESS.search(found[0])
        process, pid = (named[1], int(named[2])) if named else (process, pid)
        text = text[found.end() :]
    if header := _HEADER.match(text):
        return Line(number, text[header.end() :], process, pid, header[1])
    return Line(number, text, process, pid, "WARNING" if _WARNED.search(text) else "")
