"""The tree of everything that can go wrong for a person, and the exit status each ends with.

Every message reads ``WHERE: cannot X: why; do Y``. Nothing else in the package prints an error; the command line
maps this tree to stderr and an exit status in one place.

OrchError                   1
    InputError              1   a file, a value in it, or two files that contradict each other
    PlanError               1   the files are good, but this host or project cannot take them
        Unfit               1   and never will: more cards than there are, a flag that the engine refuses
    HostError               1   the operating system refused something orch needs (a folder, a disk, a lock)
    CommandFailed           1   a command that orch runs failed; it stands in `shell`, with what the command printed
    RuntimeFailure          1   the engine's runtime is missing, broken or cannot be built
    FetchFailed             1   weights could not be had from the Hub, or not be kept on this disk
        HubUnreachable      1   there is no way to the Hub, or it may not be asked
        HubRefused          1   the Hub answered no: gated, missing, or another token is needed
    StartFailed             1   the engine ended, or was not ready in time
    StalePlan               1   the world changed between the confirmation and the execution
    Problems                1   several of the above at once
    Declined                1   the person said no
    UsageProblem           64   the command was called in a way that cannot work
    Interrupted           130   Ctrl-C, SIGTERM or SIGHUP
        Yielded           130   or another command of orch, which a person waits for
"""

from collections.abc import Iterable


class OrchError(Exception):
    """``what`` completes "cannot ...", ``why`` gives the cause, ``do`` the next step, ``at`` a file:line:col. ``code``
    is a stable name for what is wrong with a file (`rules`). ``tail`` are lines to be shown below: the last of a log,
    a table."""

    exit_code = 1
    final = False  # the same thing tried again, and nothing else changed, ends the same way
    code: str = ""
    tail: tuple[str, ...] = ()
    margin = "  | "  # in front of each of these

    def __init__(self, what: str, why: str = "", do: str = "", at: str = "", code: str = "") -> None:
        self.what, self.why, self.do, self.at, self.code = what, why, do, at, code
        super().__init__(what)

    @property
    def below(self) -> tuple[str, ...]:
        """``tail`` as it is shown under the message."""
        return tuple(f"{self.margin}{line}" for line in self.tail)

    def __str__(self) -> str:
        text = f"cannot {self.what}"
        if self.why:
            text += f": {self.why}"
        if self.do:
            text += f"; {self.do}"
        return f"{self.at}: {text}" if self.at else text


class InputError(OrchError):
    final = True


class PlanError(OrchError):
    pass


class Unfit(PlanError):
    """This host, or this engine, can never take it as it is."""

    final = True


class HostError(OrchError):
    pass


class RuntimeFailure(OrchError):
    pass


class FetchFailed(OrchError):
    pass


class HubUnreachable(FetchFailed):
    """Nobody was asked, or nobody answered: it says nothing of what was to be had."""


class HubRefused(FetchFailed):
    """Whoever asks again without a change gets the same answer."""

    final = True


class StartFailed(OrchError):
    """``tail`` holds the rest of the diagnosis; ``log`` is where the engine's own words are."""

    margin = ""

    def __init__(self, what: str, why: str = "", tail: Iterable[str] = (), log: str = "", do: str = "") -> None:
        super().__init__(what, why, do)
        self.tail = tuple(tail)
        self.log = log


class StalePlan(OrchError):
    pass


class Declined(OrchError):
    pass


class UsageProblem(OrchError):
    exit_code = 64


class Interrupted(OrchError):
    exit_code = 130


class Yielded(Interrupted):
    """Another command of orch has a better reason to work on it, and goes on from here."""


class Problems(OrchError):
    """Several errors that a person should see together, in the order in which they stand in the files."""

    def __init__(self, errors: Iterable[OrchError]) -> None:
        self.errors = tuple(errors)
        super().__init__("go on")
        self.final = all(error.final for error in self.errors)
        self.tail = tuple(line for error in self.errors for line in error.tail)

    @property
    def below(self) -> tuple[str, ...]:
        return tuple(line for error in self.errors for line in error.below)

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)


def raise_all(errors: Iterable[OrchError]) -> None:
    """Raises the one error, or all of them as ``Problems``; returns when there is none."""
    found = tuple(errors)
    if len(found) == 1:
        raise found[0]
    if found:
        raise Problems(found)
