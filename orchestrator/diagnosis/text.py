"""A diagnosis as a person reads it: at most 12 lines."""

import textwrap
from collections.abc import Mapping

from orchestrator.diagnosis.model import Diagnosis, Ending, Line, Stage
from orchestrator.model import Json

MOST = 12
WIDTH = 118
AGAIN = "  again"
"""How the line begins that says whether another start can help."""
NEAR = 48
"""Characters of a log's path that leave room for what stands in it, beside it."""
OWN = "~/.config/orch/signatures"
"""Where signatures of one's own are kept; as `diagnosis_data.own_folder` has it."""
_WHILE: dict[Stage, str] = {
    "": "",
    "environment": "before its first word",
    "imports": "while importing",
    "config": "while reading its configuration",
    "download": "while downloading",
    "load": "while loading the weights",
    "compile": "while compiling",
    "profiling": "while measuring memory",
    "capture": "while capturing CUDA graphs",
    "warmup": "while warming up",
    "serving": "while serving",
}
_SIGNALS = {4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL", 11: "SIGSEGV", 15: "SIGTERM"}
_URLS = {
    "vllm": "vllm-project/vllm",
    "pytorch": "pytorch/pytorch",
    "flashinfer": "flashinfer-ai/flashinfer",
    "transformers": "huggingface/transformers",
    "safetensors": "safetensors/safetensors",
}


def diagnosis_text(
    diagnosis: Diagnosis, ending: Ending | None = None, subject: str = "", log: str = ""
) -> tuple[str, ...]:
    """``subject`` goes before the title ("cannot start qwen: "), ``log`` is the file that the evidence stands in. What
    comes from a log is shortened to a line."""
    how = ", ".join(part for part in (_WHILE[diagnosis.stage], ended(ending) if ending else "") if part)
    title, means = f"{subject}{diagnosis.title}", diagnosis.means
    if how and len(title) + len(how) + 3 <= WIDTH:
        title = f"{title} ({how})"
    elif how:
        means = f"It ended {how}. {means}"
    near = log if len(log) <= NEAR else ""
    far = [f"  log    {log}"] if log and not near else []  # a path is not cut, for it is to be opened
    if diagnosis.signature is None:
        shown = [_cut(_seen(line, near if at == 0 else ""))[0] for at, line in enumerate(diagnosis.evidence)]
        return (_line(title), *shown, *far, *_unknown(diagnosis))[:MOST]
    seen = [_seen(line, near if at == 0 else "") for at, line in enumerate(diagnosis.evidence[:2])]
    told = [_wrapped(means, "  ", "  ")[:3]]
    words = [_labelled("do", word) for word in diagnosis.cure]
    close = [_labelled("again", "another start ends the same way" if diagnosis.final else "another start may succeed")]
    if diagnosis.issues:
        close.append([_more([url(issue) for issue in diagnosis.issues[:2]])])
    cure = [_line(f"  {line}") for line in diagnosis.diff]
    spare = MOST - 1 - len(cure) - len(close) - len(far)
    while sum(map(len, (*told, *seen, *words))) > spare and _shorten(told, seen, words):
        pass
    middle = [line for lines in (*told, *seen, cure, *words) for line in lines]
    return (_line(title), *middle[: MOST - 1 - len(close) - len(far)], *far, *(_line(lines[0]) for lines in close))


def _shorten(told: list[list[str]], seen: list[list[str]], words: list[list[str]]) -> bool:
    """Drops what is missed least; False when nothing is left to drop."""
    for paragraphs in (seen, words, told):
        for at in range(len(paragraphs) - 1, -1, -1):
            if len(paragraphs[at]) > 1:
                paragraphs[at] = _cut(paragraphs[at])
                return True
        if len(paragraphs) > 1:
            paragraphs.pop()
            return True
    return False


def _cut(lines: list[str]) -> list[str]:
    """The same in one line less."""
    return [*lines[:-2], _line(f"{lines[-2]} {lines[-1].strip()}")] if len(lines) > 1 else lines


def diagnosis_json(found: Diagnosis) -> Mapping[str, Json]:
    return {
        "signature": found.signature.id if found.signature else None,
        "title": found.title,
        "stage": found.stage,
        "means": found.means,
        "evidence": [{"line": one.number, "process": one.process, "text": one.text} for one in found.evidence],
        "cure": list(found.cure) if found.signature else [],
        "signature_to_write": [] if found.signature else list(found.cure),
        "changes": dict(found.changes),
        "issues": list(found.issues),
        "final": found.final,
    }


def ended(ending: Ending) -> str:
    """How it ended, in words; empty where that is not known."""
    if ending.oom_killed:
        return "killed by the kernel for want of memory"
    if ending.signal:
        return f"killed by {_SIGNALS.get(ending.signal, f'signal {ending.signal}')}"
    if ending.timed_out:
        return "not ready in time"
    if ending.hung:
        return "hung"
    return "" if ending.code is None else f"exit status {ending.code}"


def url(issue: str) -> str:
    """Of "vllm 1234", or of "owner/name 1234"."""
    project, _, number = issue.rpartition(" ")
    return f"https://github.com/{_URLS.get(project, project)}/issues/{number}"


def _unknown(diagnosis: Diagnosis) -> list[str]:
    if not diagnosis.cure:
        return ["  do     read the whole log; what its last lines tell is all there is"]
    return [
        f"  do     it is not in the catalogue; once you know why, keep it in five lines as {OWN}/NAME.toml:",
        *(_line(f"    {one}") for one in diagnosis.cure),
    ]


def _labelled(label: str, text: str) -> list[str]:
    first = f"  {label:<6} "
    return _wrapped(text, first, " " * len(first)) or [first.rstrip()]


def _wrapped(text: str, first: str, rest: str) -> list[str]:
    return textwrap.wrap(_plain(text), WIDTH, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)


def _more(urls: list[str]) -> str:
    line = f"  more   {'  '.join(urls)}"
    return line if len(line) <= WIDTH else f"  more   {urls[0]}"


def _seen(line: Line, log: str) -> list[str]:
    where = (f"{log}:{line.number}" if log else f"line {line.number}") if line.number else ""
    parts = ", ".join(part for part in (where, line.process) if part)
    lines = _labelled("seen", f"{parts}: {line.text.strip()}" if parts else line.text.strip())
    return lines if len(lines) < 3 else [lines[0], f"{lines[1][: WIDTH - 3]}..."]


def _plain(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)


def _line(text: str) -> str:
    text = _plain(text)
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 3].rstrip()}..."
