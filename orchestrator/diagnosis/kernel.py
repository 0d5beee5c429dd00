"""What lines of the kernel's log tell of an engine. They come as the kernel wrote them, without their time:

    Out of memory: Killed process 123 (python3) total-vm:...            for want of memory, in the whole computer
    Memory cgroup out of memory: Killed process 123 (VLLM::EngineCor)   for want of memory, in the limit of a cgroup
    oom-kill:constraint=CONSTRAINT_MEMCG,...,task=python3,pid=123,uid=0  before each of these
    python3[123]: segfault at 0 ip ...       traps: python3[123] trap invalid opcode ip:...
    NVRM: Xid (PCI:0000:02:00): 79, pid=123, name=python3, GPU has fallen off the bus.

The number of a crash is that of the thread, and a process is named by its first 15 letters. Where the kernel counts
processes otherwise than this host's processes see themselves (in a container with pids of its own), a number says
nothing here: it is written "?".
"""

import re
from collections.abc import Collection, Iterator, Sequence

from orchestrator.model import Exit

UNKNOWN = "?"
_NUMBER = r"(\d+|\?)"
_KILLED = re.compile(rf"[Kk]illed process {_NUMBER}(?:, UID \d+,?)? \((.*?)\)(?:[ ,]|$)")
_CHOSEN = re.compile(rf"oom-kill:constraint=.*,task=(.*),pid={_NUMBER}(?:,|$)")
_CRASHED = re.compile(rf"^(?:traps: )?.{{1,40}}\[{_NUMBER}\](?:: segfault at |:? trap |:? general protection )")
_DRIVER = re.compile(r"NVRM: .*(?:Xid \(|fallen off the bus)")
_BUS = re.compile(r"\b0*([0-9a-f]*:[0-9a-f]{2}:[0-9a-f]{2})\b", re.IGNORECASE)
"""The kernel writes "0000:02:00", NVML "00000000:02:00.0"."""
_XID = re.compile(rf"Xid \([^)]*\): (\d+)(?:, pid='?{_NUMBER}?)?")
_OF_THE_CARD = frozenset((48, 62, 63, 64, 74, 79, 92, 94, 95, 119, 120, 140, 143, 154))
"""Faults of the card or its driver, which end every process on it; others come from what one process did."""
_PIDS = re.compile(r"([Kk]illed process |\bpid='?|\[(?=\d+\]))\d+")


def tells(text: str) -> bool:
    """Whether a line of the kernel's log is one of these."""
    return any(pattern.search(text) for pattern in (_KILLED, _CHOSEN, _CRASHED, _DRIVER))


def without_numbers(text: str) -> str:
    """Such a line as it is to be read where the kernel's numbers mean other processes than they do here."""
    return _PIDS.sub(rf"\g<1>{UNKNOWN}", text)


def killed(kernel: Sequence[str]) -> dict[int, str]:
    """The processes that it killed for want of memory, by their pids."""
    return {int(pid): name for pid, name in _kills(kernel) if pid != UNKNOWN}


def oom_killed(
    exit_: Exit | None,
    pids: Collection[int],
    kernel: Sequence[str] | None,
    before: int | None,
    after: int | None,
    part: bool = False,
) -> bool | None:
    """Whether the kernel killed an engine for want of memory; None where nobody can tell. The first row that fits:

        its unit, as `exit_` has it, says so                                   True
        the kernel's log names one of its ``pids``                             True
        its cgroup counts more than when it began, and its leader or a
        ``part`` of it was killed with SIGKILL, or nobody knows how it ended   True
        its cgroup counts more, and it ended otherwise                         None: the cgroup is others', too
        its cgroup counts as many                                              False
        the kernel's log names nobody, or others                               False
        else (the log cannot be read, or its numbers mean nothing here)        None

    ``kernel`` as `Logs.kernel`, ``before`` and ``after`` as `Logs.oom_kills` at its start and its end."""
    if exit_ and exit_.oom_killed:
        return True
    if not killed(kernel or ()).keys().isdisjoint(pids):
        return True
    if before is not None and after is not None and after >= before:
        if after == before:
            return False
        return True if part or _maybe_killed(exit_) else None
    return None if kernel is None or any(pid == UNKNOWN for pid, _ in _kills(kernel)) else False


def _maybe_killed(exit_: Exit | None) -> bool:
    return exit_ is None or exit_.signal == 9 or (exit_.signal is None and exit_.code is None)


def concerning(kernel: Sequence[str], pids: Collection[int], buses: Collection[str] = ()) -> tuple[str, ...]:
    """Those lines that may concern the engine with these ``pids``. Of kills, the line that says the most. Of what the
    driver says, not what another process caused, nor what is about other cards than those on ``buses`` (as Gpu.pci;
    where none is given, all count)."""
    own, cards = {str(pid) for pid in pids}, {_bus(bus) for bus in buses}
    told = {found[1] for line in kernel if (found := _KILLED.search(line))}
    return tuple(line for line in kernel if _concerns(line, own, told, cards))


def _concerns(line: str, own: Collection[str], told: Collection[str], cards: Collection[str]) -> bool:
    if found := _KILLED.search(line):
        return found[1] in own or found[1] == UNKNOWN
    if found := _CHOSEN.search(line):
        return found[2] in own and found[2] not in told
    if found := _CRASHED.search(line):
        return found[1] in own
    if not _DRIVER.search(line) or (cards and (bus := _bus(line)) and bus not in cards):
        return False
    found = _XID.search(line)
    return not found or int(found[1]) in _OF_THE_CARD or found[2] in {None, UNKNOWN, *own}


def _bus(text: str) -> str:
    found = _BUS.search(text)
    return found[1].lower() if found else ""


def _kills(kernel: Sequence[str]) -> Iterator[tuple[str, str]]:
    for line in kernel:
        if found := _KILLED.search(line):
            yield found[1], found[2]
        elif found := _CHOSEN.search(line):
            yield found[2], found[1]
