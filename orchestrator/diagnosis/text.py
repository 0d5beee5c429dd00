"""A diagnosis as a person reads it: at most 12 lines."""

import textwrap

from orchestrator.diagnosis.model import Diagnosis, Ending, Line, Stage

MOST = 12
WIDTH = 118
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
    title = _line(f"{subject}{diagnosis.title}" + (f" ({how})" if how else ""))
    seen = [_seen(line, log if at == 0 else "") for at, line in enumerate(diagnosis.evidence[:2])]
    if diagnosis.signature is None:
        return (title, *seen, *_unknown(diagnosis))[:MOST]
    means = textwrap.wrap(_plain(diagnosis.means), WIDTH, initial_indent="  ", subsequent_indent="  ")[:3]
    cure = [f"  {line}" for line in diagnosis.diff]
    words = [_labelled("do", word) for word in diagnosis.cure]
    close = [_labelled("again", _again(diagnosis.final)), _labelled("more", "  ".join(map(url, diagnosis.issues[:2])))]
    close = close if diagnosis.issues else close[:1]
    spare = MOST - 1 - len(cure) - len(close)
    while len(means) + len(seen) + sum(map(len, words)) > spare and _shorten(seen, words, means):
        pass
    lines = (title, *means, *seen, *cure, *(line for word in words for line in word), *(one[0] for one in close))
    return lines if len(lines) <= MOST else (*lines[: MOST - 1], lines[-1])


def _shorten(seen: list[str], words: list[list[str]], means: list[str]) -> bool:
    """Drops what is missed least; False when nothing is left to drop."""
    if len(seen) > 1:
        seen.pop()
    elif words and len(words[-1]) > 1:
        words[-1][:] = [_line(" ".join([words[-1][0], *(line.strip() for line in words[-1][1:])]))]
    elif len(words) > 1:
        words.pop()
    elif len(means) > 1:
        means[:] = [_line(f"{means[0]} {means[1].strip()}"), *means[2:]]
    else:
        return False
    return True


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
        f"  do     if you find out why, keep it as a file {OWN}/NAME.toml:",
        *(f"    {one}" for one in diagnosis.cure),
    ]


def _again(final: bool | None) -> str:
    return "another start ends the same way" if final else "another start may succeed"


def _labelled(label: str, text: str) -> list[str]:
    first = f"  {label:<6} "
    return textwrap.wrap(_plain(text), WIDTH, initial_indent=first, subsequent_indent=" " * len(first)) or [
        first.rstrip()
    ]


def _seen(line: Line, log: str) -> str:
    where = f"line {line.number}" if line.number else ""
    if log and line.number:
        where = f"{log}:{line.number}"
    parts = ", ".join(part for part in (where, line.process) if part)
    return _line(f"  seen   {parts}: {_plain(line.text).strip()}" if parts else f"  seen   {_plain(line.text).strip()}")


def _plain(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)


def _line(text: str) -> str:
    text = _plain(text)
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 3].rstrip()}..."
