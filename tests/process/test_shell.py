"""Commands are really run here: what they print, how they fail, and that nothing of them survives."""

import os
import select
import signal
import sys
import threading
from pathlib import Path

import pytest

from orchestrator.shell import CommandFailed, run

PY = sys.executable
# Prints its own and a child's pid, then both sleep; the child ignores TERM as a stubborn build step does.
FAMILY = """
import os, signal, sys, time
pid = os.fork()
if pid == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.stderr.write("child %d\\n" % os.getpid()); sys.stderr.flush()
time.sleep(60)
"""


def _gone(pid: int) -> bool:
    """Whether the process ends; KILL takes the kernel a moment, so the process's own handle is waited on."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], 10)[0])
    finally:
        os.close(handle)


def test_output_input_environment_and_folder(tmp_path: Path) -> None:
    code = "import os,sys; print(sys.stdin.read(), os.environ['A'], os.getcwd()); print('e', file=sys.stderr)"
    lines: list[str] = []
    done = run([PY, "-c", code], env={"A": "1"}, cwd=tmp_path, stdin="in", on_line=lines.append)
    assert done.stdout == f"in 1 {tmp_path}\n"
    assert done.stderr == "e\n"
    assert lines == ["e"]


def test_stdin_is_empty_not_open() -> None:
    assert run([PY, "-c", "import sys; print(repr(sys.stdin.read()))"]).stdout == "''\n"


def test_bytes_that_are_not_utf8_do_not_crash() -> None:
    done = run([PY, "-c", r"import os; os.write(1, b'a\xff\n'); os.write(2, b'\xfe\n')"])
    assert done.stdout == "a\ufffd\n"
    assert done.stderr == "\ufffd\n"


def test_failure_tells_the_status_and_the_last_line_but_no_environment() -> None:
    with pytest.raises(CommandFailed) as caught:
        run([PY, "-c", "import sys; print('out'); sys.exit('the reason')"], env={"TOKEN": "hunter2"})
    error = caught.value
    assert (error.status, error.tail, error.stdout) == (1, ("the reason",), "out\n")
    assert str(error) == f"cannot run {Path(PY).name}: exit status 1: the reason"
    assert "hunter2" not in repr(error.__dict__)


def test_a_signal_is_named() -> None:
    with pytest.raises(CommandFailed, match="ended by SIGKILL") as caught:
        run([PY, "-c", "import os; os.kill(os.getpid(), 9)"])
    assert caught.value.status == -9


@pytest.mark.parametrize(
    ("program", "why"),
    [("no-such-program", "not on PATH"), ("/no/such/file", "no such file"), ("/etc/passwd", "not executable")],
)
def test_a_program_that_is_missing(program: str, why: str) -> None:
    with pytest.raises(CommandFailed, match=why) as caught:
        run([program])
    assert caught.value.status is None


def test_a_program_whose_interpreter_is_missing(tmp_path: Path) -> None:
    script = tmp_path / "tool"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    with pytest.raises(CommandFailed, match="cannot be executed"):
        run([str(script)])


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="is not there"):
        run([PY, "-c", ""], cwd=tmp_path / "gone")


def test_timeout_ends_the_children_too() -> None:
    lines: list[str] = []
    with pytest.raises(CommandFailed, match=r"no end after 0\.5 s") as caught:
        run([PY, "-c", FAMILY], timeout=0.5, on_line=lines.append)
    assert caught.value.status is None
    assert _gone(int(lines[0].split()[1]))


def test_ctrl_c_ends_the_children_and_is_passed_on() -> None:
    lines: list[str] = []

    def interrupt(line: str) -> None:
        lines.append(line)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run([PY, "-c", FAMILY], on_line=interrupt)
    assert _gone(int(lines[0].split()[1]))


def test_the_terminal_cannot_reach_the_command() -> None:
    assert int(run([PY, "-c", "import os; print(os.getsid(0))"]).stdout) != os.getsid(0)
