"""What a hung engine was doing, written down before it is ended: the Python stack of every thread of its processes, as
py-spy sees it, else the kernel's view of them.

One file a start, beside its log and gone with it. Values are never shown (no py-spy --locals), nor command lines, for
an adopted engine may carry its API key there. py-spy needs the right to trace: root's, or kernel.yama.ptrace_scope 0.
"""

import contextlib
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator import proc, shell
from orchestrator.files import write_text
from orchestrator.liveness import Member
from orchestrator.model import Instance
from orchestrator.vitals import LEADER, members

TIMEOUT = 5.0  # seconds for each process: py-spy takes a tenth of one, or never ends
PROCESSES = 16  # where there are more, they do the same as these
LIMIT = 256 << 10  # characters of one file
THREADS = 40  # of one process, in the kernel's view
RIGHTS = "py-spy may not trace it: that takes root, or `sudo sysctl kernel.yama.ptrace_scope=0`"
ABSENT = "`pip install py-spy` where orch is, and the next dump shows Python's own stacks"

_FRAME = re.compile(r"    (?P<function>.+) \((?P<file>[^()]*:[0-9]+)\)")
_WAITS = frozenset({"wait", "poll", "select", "get", "recv", "_recv", "_recv_bytes", "recv_bytes", "__enter__"})


@dataclass(frozen=True, slots=True)
class Dump:
    """``path`` of the file, None where it could not be written; ``saw`` in one line, for a person."""

    path: Path | None
    saw: str


@dataclass(frozen=True, slots=True)
class _View:
    """Of one process: ``does`` in a few words, the whole ``text``, and what would have shown more (``lacks``)."""

    does: str
    text: str
    lacks: str = ""


def dump(instance: Instance, file: Path) -> Dump:
    """``file`` is ATTEMPT.dump beside ATTEMPT.log. Never raises for what a host can do. Takes a second or two, with
    processes that py-spy cannot stop up to 10 s each."""
    spy = shutil.which("py-spy") or shutil.which("py-spy", path=str(Path(sys.executable).parent))
    views = {one: _view(one, spy) for one in members(instance)[:PROCESSES] if not one.gone}
    share = LIMIT // max(1, len(views))
    text = "\n".join(f"== {one.name} (pid {one.pid})\n{view.text[:share]}" for one, view in views.items())
    saw = _said(views)
    try:
        write_text(file, text, durable=False)
    except OSError as error:
        return Dump(None, f"{saw} ({file} could not be written: {error.strerror or error})")
    return Dump(file, saw)


def _said(views: Mapping[Member, _View]) -> str:
    """Without the API server where there are others: its loop looks the same whatever it waits for."""
    vital = [one for one in views if one.vital]
    engine = [one for one in vital if one.name != LEADER or one.state in {"T", "D"}]
    does: dict[str, list[str]] = {}
    for one in engine or vital:
        does.setdefault(views[one].does, []).append(one.name)
    words = [f"{', '.join(names[:3])}{' and others' if len(names) > 3 else ''} {what}" for what, names in does.items()]
    lacks = next((views[one].lacks for one in vital if views[one].lacks), "")
    return "; ".join(words[:3] or ["nothing of it is left"]) + (f" ({lacks})" if lacks else "")


def _view(member: Member, spy: str | None) -> _View:
    if not spy:
        return _kernel(member, ABSENT)
    lacks, tries = "", [["--nonblocking"]] if member.state in {"T", "t"} else [[], ["--nonblocking"]]
    for flags in tries:  # one that is stopped already cannot be stopped by py-spy
        try:
            text = shell.run([spy, "dump", *flags, "--pid", str(member.pid)], timeout=TIMEOUT).stdout
        except shell.CommandFailed as failed:
            if "permission" in " ".join(failed.tail).lower():
                return _kernel(member, RIGHTS)
            lacks = f"py-spy: {failed.tail[-1].strip()}" if failed.tail else str(failed)
            continue
        shown = "\n".join(line for line in text.splitlines() if not line.startswith("Process "))
        return _View(_python(member, shown), shown)
    return _kernel(member, lacks)


def _python(member: Member, text: str) -> str:
    """What its main thread does: the innermost frame that is more than waiting."""
    block = next((part for part in text.split("\nThread ") if '"MainThread"' in part), text)
    frames = [found for line in block.splitlines() if (found := _FRAME.fullmatch(line))]
    telling = [one for one in frames if one["function"].rpartition(".")[2] not in _WAITS]
    frame = next(iter(telling or frames), None)
    verb = "is stopped (SIGSTOP)" if member.state == "T" else "waits" if "(idle)" in block else "works"
    return f"{verb} in {frame['function']} ({frame['file'].rpartition('/')[2]})" if frame else verb


def _kernel(member: Member, lacks: str) -> _View:
    folder = proc.PROC / str(member.pid)
    waits = _read(folder / "wchan")
    wanted = ("State:", "Threads:", "TracerPid:", "VmRSS:", "VmSwap:")
    lines = [lacks, *(line for line in _read(folder / "status").splitlines() if line.startswith(wanted))]
    lines += [f"wchan: {waits}", _read(folder / "stack"), "threads:"]
    with contextlib.suppress(OSError):
        for thread in sorted((folder / "task").iterdir(), key=lambda one: int(one.name))[:THREADS]:
            state = next((line for line in _read(thread / "status").splitlines() if line.startswith("State:")), "")
            lines.append(f"  {thread.name} {_read(thread / 'comm')}: {state[6:].strip()} {_read(thread / 'wchan')}")
    verbs = {"T": "is stopped (SIGSTOP)", "D": "is stuck in the kernel", "R": "works"}
    verb = verbs.get(member.state, "sleeps")
    return _View(f"{verb} in {waits}" if waits not in {"", "0"} else verb, "\n".join(filter(None, lines)), lacks)


def _read(path: Path) -> str:
    """Empty where the kernel does not show it to this user."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
