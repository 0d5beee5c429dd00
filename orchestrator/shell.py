"""The one place that runs commands. Nothing here knows what a command means, and no value of an environment variable
ever enters a message: environments hold tokens and index passwords."""

import contextlib
import os
import shutil
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import HostError, OrchError

if TYPE_CHECKING:
    import subprocess

TAIL_LINES = 40
GRACE = 2.0  # seconds between TERM and KILL for a command that is ended early


@dataclass(frozen=True, slots=True)
class Completed:
    """What a command that ended with 0 printed; bytes that are not UTF-8 are replaced."""

    stdout: str
    stderr: str


class CommandFailed(OrchError):
    """``status`` is the exit code, negative for a signal, None when the command never ran or ran out of time.
    ``tail`` holds the last lines of stderr, oldest first, and ``stdout`` what was printed before the end."""

    def __init__(
        self, argv: Sequence[str], why: str, status: int | None = None, tail: Sequence[str] = (), stdout: str = ""
    ) -> None:
        self.argv, self.status, self.tail, self.stdout = tuple(argv), status, tuple(tail), stdout
        super().__init__(f"run {Path(argv[0]).name}", why)


def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
    timeout: float | None = None,
    on_line: Callable[[str], None] | None = None,
    stdin: str | None = None,
) -> Completed:
    """Runs a command that ends by itself, in a session of its own, and returns what it printed.

    ``env`` is its whole environment (None: this process's). ``timeout`` in seconds. ``on_line`` gets each line of
    stderr as it comes, without its line end, from another thread. Anything that ends the wait early (Ctrl-C, the
    timeout) ends the command with all its children. Raises CommandFailed."""
    import sh

    program = _program(argv, env, cwd)
    heard = _Heard(on_line)
    try:
        process = sh.Command(program)(
            *argv[1:],
            _env=None if env is None else dict(env),
            _cwd=None if cwd is None else str(cwd),
            _in=stdin or "",
            _out=heard.stdout.append,
            _err=heard.err,
            _decode_errors="replace",
            _tty_out=False,
            _new_session=True,
            _bg=True,
            _bg_exc=False,
        )
    except (sh.ForkException, OSError) as error:
        raise CommandFailed(argv, f"{program} cannot be executed: {_first_reason(str(error))}") from error
    _await(process, argv, timeout, heard)
    return Completed("".join(heard.stdout), "".join(heard.stderr))


@dataclass(slots=True)
class _Heard:
    on_line: Callable[[str], None] | None
    stdout: list[str] = field(default_factory=list)
    stderr: list[str] = field(default_factory=list)

    def err(self, chunk: str) -> None:
        self.stderr.append(chunk)
        if self.on_line:
            self.on_line(chunk.rstrip("\r\n"))

    @property
    def tail(self) -> list[str]:
        return "".join(self.stderr).splitlines()[-TAIL_LINES:]


def _program(argv: Sequence[str], env: Mapping[str, str] | None, cwd: str | Path | None) -> str:
    """The full path of argv[0], looked up where the command itself would look."""
    path = (os.environ if env is None else env).get("PATH", os.defpath)
    found = shutil.which(argv[0], path=path)
    if found is None:
        missing = "/" in argv[0] and not Path(argv[0]).exists()
        why = "there is no such file" if missing else "it is not executable" if "/" in argv[0] else "it is not on PATH"
        raise CommandFailed(argv, f"{argv[0]}: {why}")
    if cwd is not None and not Path(cwd).is_dir():
        raise CommandFailed(argv, f"the folder {cwd} is not there")
    return found


def _await(process: Any, argv: Sequence[str], timeout: float | None, heard: _Heard) -> None:
    import sh

    late = threading.Event()
    timer = threading.Timer(timeout, _expire, (process, late)) if timeout is not None else None
    if timer:
        timer.daemon = True
        timer.start()
    try:
        process.wait()
    except sh.ErrorReturnCode as error:
        if late.is_set():
            raise CommandFailed(argv, f"no end after {timeout:g} s", None, heard.tail, "".join(heard.stdout)) from None
        raise CommandFailed(
            argv, _ending(error.exit_code, heard.tail), error.exit_code, heard.tail, "".join(heard.stdout)
        ) from None
    except BaseException:
        _end_group(process)
        raise
    finally:
        if timer:
            timer.cancel()


def _expire(process: Any, late: threading.Event) -> None:
    late.set()
    _end_group(process)


def _end_group(process: Any) -> None:
    """TERM, a moment to clean up, KILL. The session was made for this command, so its group is nobody else's."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    # sh reaps the leader from its own thread; polling through it is the only way that does not race with that.
    pause = threading.Event()
    for _ in range(int(GRACE / 0.05)):
        if not process.process.is_alive()[0]:
            break
        pause.wait(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _ending(status: int, tail: Sequence[str]) -> str:
    last = next((line.strip() for line in reversed(tail) if line.strip()), "")
    how = f"exit status {status}" if status >= 0 else f"ended by {_signal_name(-status)}"
    return f"{how}: {last}" if last else how


def _signal_name(number: int) -> str:
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


def _first_reason(text: str) -> str:
    """sh reports a failed exec as a whole traceback; its last line is the reason."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def stream(argv: Sequence[str], ended: threading.Event, look_every: float) -> Iterator[str]:
    """What a command prints, as it comes, until it ends or ``ended`` is set; what it had printed by then is still
    given. ``look_every`` in seconds. Not through sh, which hands lines out from a thread of its own. Raises
    CommandFailed when it ends with an error."""
    import subprocess

    try:
        child = subprocess.Popen(list(argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        raise CommandFailed(argv, f"{argv[0]}: {(error.strerror or str(error)).lower()}") from error
    assert child.stdout
    assert child.stderr
    with child:
        by_itself = False
        try:
            by_itself = yield from _chunks(child.stdout.fileno(), ended, look_every)
        finally:
            if not by_itself:
                child.kill()
        said = child.stderr.read().decode(errors="replace").splitlines()
    if by_itself and child.returncode:
        raise CommandFailed(argv, _ending(child.returncode, said), child.returncode, said[-TAIL_LINES:])


def _chunks(handle: int, ended: threading.Event, look_every: float) -> Generator[str, None, bool]:
    """Says whether it was read to its end."""
    import codecs
    import select

    decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
    last = False
    while True:
        if select.select([handle], [], [], look_every)[0]:
            if not (chunk := os.read(handle, 1 << 16)):
                return True
            yield decode(chunk)
        elif last:
            return False
        last = ended.is_set()


def spawn(argv: Sequence[str], env: Mapping[str, str], cwd: str | Path, log: Path | None) -> "subprocess.Popen[bytes]":
    """Starts a program that outlives this one: its own session, no standard input, both streams into ``log`` (None:
    this process's own). Not through sh, whose pipes would break once this process ends. Raises HostError."""
    import subprocess

    try:
        with contextlib.ExitStack() as opened:
            stream = opened.enter_context(log.open("ab")) if log else None
            return subprocess.Popen(
                list(argv),
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT if stream else None,
                start_new_session=True,
            )
    except OSError as error:
        why = f"{error.filename or argv[0]}: {error.strerror or error}"
        raise HostError(f"execute {argv[0]}", why, "check the runtime that the environment names") from error


class Conversation:
    """A program of ours that answers line by line on stdout, in a session of its own. Not through sh, which is made
    for commands that end. Whatever ends a wait early ends the program with all its children, at once."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], on_line: Callable[[str], None]) -> None:
        """``env`` is its whole environment. ``on_line`` gets each line of stderr as it comes, from another thread.
        Raises HostError."""
        import subprocess

        try:
            self._process = subprocess.Popen(
                list(argv),
                env=dict(env),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise HostError(f"execute {argv[0]}", why, "install orch again") from error
        self.pid = self._process.pid
        self._heard = threading.Thread(target=self._listen, args=(on_line,), daemon=True)
        self._heard.start()

    def ask(self, line: str, timeout: float | None = None) -> str | None:
        """The answer, one line; None when the program ended instead, or gave none in ``timeout`` seconds."""
        timer = threading.Timer(timeout, self.end) if timeout is not None else None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            if timer:
                timer.daemon = True
                timer.start()
            with contextlib.suppress(BrokenPipeError, ValueError):  # it ended, or was ended
                self._process.stdin.write(line + "\n")
                self._process.stdin.flush()
            answer = "" if self._process.stdout.closed else self._process.stdout.readline()
        except BaseException:
            self.end()
            raise
        finally:
            if timer:
                timer.cancel()
        if not answer:
            self.end()
        return answer.rstrip("\n") or None

    def end(self) -> None:
        """Idempotent. KILL, for the program is one that may be killed at any moment."""
        if self._process.returncode is None:  # once it is waited for, its number may be another's
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
        self._heard.join()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            with contextlib.suppress(OSError):
                stream.close()  # type: ignore[union-attr]

    def _listen(self, on_line: Callable[[str], None]) -> None:
        assert self._process.stderr is not None
        with contextlib.suppress(ValueError):  # closed meanwhile
            for line in self._process.stderr:
                on_line(line.rstrip("\n"))
