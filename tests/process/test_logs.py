"""`orch logs` on what engines wrote, and the rotation of a log that is being written."""

import os
import pty
import re
import signal
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest
from deploy_kit import Project, alive, ended
from fakes.sandbox import Background, wait_until

from orchestrator import log_parts, log_rotation, shell
from orchestrator.log_follower import LogFollower
from orchestrator.log_parts import Written, first
from orchestrator.log_rotation import rotate, too_long

LIMIT = 128 * 1024
LINES = 120_000
WRITER = f"""
import os
for number in range({LINES}):
    while number % 100 == 0 and os.fstat(1).st_size > 1.8 * {LIMIT}:
        os.sched_yield()  # a log of twice the limit loses its middle
    os.write(1, b"%08d\\n" % number)
"""
BAR = "Loading: {}% Completed | {}/4 [00:00<00:01, 3.2it/s]"


@pytest.fixture
def written(project: Project) -> Path:
    """The log of a deployment that ran once, to be written anew."""
    project.up()
    project.orch("stop", "a")
    return next((project.folder() / "logs").glob("*.log"))


def stamp(ago: float = 0.0) -> str:
    return time.strftime("%m-%d %H:%M:%S", time.localtime(time.time() - ago))


# --------------------------------------------------------------------------------------------------------- which log


def test_the_log_of_every_kept_start_must_be_had_by_its_number(project: Project) -> None:
    for words in ("first words", "second words", "third words"):
        project.up(args={"fake_log": [words]})
    assert "first words" in project.orch("logs", "a", "--attempt", "1").stdout
    assert "second words" in project.orch("logs", "a", "-p").stdout
    assert "third words" in project.orch("logs").stdout
    refused = project.orch("logs", "a", "--attempt", "7", code=1).stderr
    assert "cannot show the log of attempt 7 of a: it is not kept; there is 1, 2, 3" in refused
    assert "cannot use --previous with --attempt" in project.orch("logs", "-p", "--attempt", "1", code=64).stderr


def test_several_must_be_put_together_by_time_each_with_its_name(project: Project) -> None:
    project.up("a", args={"fake_log": ["of a"]})
    project.up("long-name", project.free_port(), args={"fake_log": ["of the other"]})
    project.orch("restart", "a")
    shown = project.orch("logs").stdout.splitlines()
    assert all(re.match(r"(a        |long-name) \| ", line) for line in shown)
    # What a printed last, it printed after all that the other did.
    assert [line.split(" | ")[0].strip() for line in shown if "version 9.9.9" in line] == ["long-name", "a"]
    assert project.orch("logs", "a", "long-name").stdout.splitlines() == shown
    assert "of the other" not in project.orch("logs", "a").stdout
    assert not project.orch("logs", "a").stdout.startswith("a ")
    project.orch("logs", "a", "nobody", code=1)
    once = project.orch("logs", "--previous")
    assert "of a" in once.stdout
    assert "cannot show the previous log of long-name: only one is kept" in once.stderr


# ------------------------------------------------------------------------------------------------------ what is shown


def test_since_the_last_lines_a_pattern_and_errors(project: Project, written: Path) -> None:
    old, new = stamp(7200), stamp(60)
    told = [
        f"INFO {old} [x.py:1] an hour ago",
        "with more",
        f"ERROR {new} [x.py:1] it broke",
        "Traceback (most recent call last):",
        '  File "x.py", line 1',
        "ValueError: why",
        f"INFO {new} [x.py:1] last",
    ]
    written.write_text("\n".join(told) + "\n")

    def shown(*args: str) -> list[str]:
        return project.orch("logs", "a", *args).stdout.splitlines()

    assert shown() == told
    assert shown("--since", "1h") == told[2:]
    assert shown("--since", "3h", "-n", "6") == told[1:]
    assert shown("--since", time.strftime("%Y-%m-%dT%H:%M", time.localtime(time.time() - 3600))) == told[2:]
    assert shown("-n", "2") == told[-2:]
    assert shown("-n", "0") == []
    assert shown("--grep", "ago$") == told[:1]
    assert shown("--errors") == told[2:6]
    assert shown("--errors", "-n", "1") == told[5:6]
    refused = project.orch("logs", "-g", "a (", code=64).stderr
    assert (
        "cannot use --grep: a ( is no regular expression: missing ), unterminated subpattern at position 2" in refused
    )
    assert "is neither a duration nor a time" in project.orch("logs", "--since", "soon", code=64).stderr
    project.orch("logs", "-n", "-1", code=64)


def test_bars_must_be_seen_once_and_raw_as_they_are(project: Project, written: Path) -> None:
    raw = "".join(f"\r{BAR.format(25 * step, step)}" for step in range(5)) + "\n\x1b[1mbold\x1b[0m\n"
    written.write_bytes(raw.encode())
    assert project.orch("logs", "a").stdout == f"{BAR.format(100, 4)}\nbold\n"
    command, folder = project.sandbox.command("logs", "a", "--raw"), project.sandbox.project
    done = subprocess.run(command, env=project.env, cwd=folder, capture_output=True, check=True)
    assert done.stdout == raw.encode()


def test_a_long_log_must_be_read_from_its_end_and_in_all_its_parts(project: Project, written: Path) -> None:
    new, old = stamp(60), stamp(7200)
    written.with_name(f"{written.name}.1").write_text(f"INFO {old} [x.py:1] old\n" * 50_000)
    written.write_text(f"INFO {old} [x.py:1] older\n" * 5_000 + f"INFO {new} [x.py:1] new\n" * 5)
    assert project.orch("logs", "a", "-n", "5006").stdout.splitlines()[0].endswith("] old")
    assert project.orch("logs", "a", "--since", "1h").stdout.splitlines() == [f"INFO {new} [x.py:1] new"] * 5
    assert project.orch("logs", "a").stdout.count("\n") == 55_005


def test_secrets_must_not_be_seen(project: Project, fake_runtime: Path) -> None:
    value = "the-very-s3cr3t"
    project.env["TOKEN"] = value
    project.sandbox.environment(fake_runtime, secrets={"HF_TOKEN": {"env": "TOKEN"}})
    project.up(args={"fake_log": [f"it is {value}", "a key hf_abcdefghijklmnopqrst"]})
    for more in ([], ["--raw"], ["--grep", "s3cr3t|hf_"]):
        shown = project.orch("logs", "a", *more).stdout
        assert value not in shown
        assert "hf_***" in shown
    assert "it is ***" in project.orch("logs", "a").stdout


def test_a_terminal_must_have_colours_unless_they_are_not_wanted(project: Project, written: Path) -> None:
    project.up("b")
    written.write_text("\x1b[32mgreen\n")
    assert b"\x1b[32mgreen\x1b[0m" in on_a_terminal(project, "logs", "a")
    assert re.search(rb"\x1b\[\d+ma \|\x1b\[0m ", on_a_terminal(project, "logs"))
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        assert b"\x1b" not in on_a_terminal(project, "logs", **{name: value})


def on_a_terminal(project: Project, *args: str, **env: str) -> bytes:
    ours, theirs = pty.openpty()
    known = {"TERM": "xterm"} | project.env | env
    command = project.sandbox.command(*args)
    process = subprocess.Popen(command, env=known, cwd=project.sandbox.project, stdin=theirs, stdout=theirs)
    os.close(theirs)
    shown = b""
    while chunk := _read(ours):
        shown += chunk
    os.close(ours)
    assert process.wait() == 0
    return shown


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # nobody holds its other end any more
        return b""


# ------------------------------------------------------------------------------------------------------------ followed


def follow(project: Project, *args: str) -> Background:
    return project.sandbox.start("logs", "-f", *args)


def test_who_follows_must_see_the_next_start_too_and_end_quietly(project: Project) -> None:
    project.up(args={"fake_log": ["first words"]})
    logs = follow(project, "a")
    wait_until(lambda: "startup complete" in logs.output)
    project.up(args={"fake_log": ["second words"]})
    wait_until(lambda: logs.output.count("startup complete") == 2)
    told = logs.output
    order = ["first words", "shutdown complete", "a: attempt 2 begins", "second words"]
    assert sorted(order, key=told.index) == order
    logs.process.send_signal(signal.SIGINT)
    assert ended(logs) == 130
    assert logs.output.rstrip() == told.rstrip(), "it ends without a word"


def test_several_must_be_followed_together(project: Project) -> None:
    project.up("a", args={"fake_log": ["of a"]})
    project.up("b", project.free_port())
    logs = follow(project)
    wait_until(lambda: logs.output.count("startup complete") == 2)
    project.orch("stop", "b")
    wait_until(lambda: re.search(r"^b \| .*shutdown complete", logs.output, re.MULTILINE))
    project.orch("start", "b")
    wait_until(lambda: "b: attempt 2 begins" in logs.output)
    wait_until(lambda: logs.output.count("startup complete") == 3)
    assert "a: attempt" not in logs.output
    assert logs.output.count("of a") == 1
    logs.process.send_signal(signal.SIGINT)
    assert ended(logs) == 130


def test_a_bar_must_be_seen_once_a_line_comes(project: Project, written: Path) -> None:
    written.write_text("none\none\n")
    logs = follow(project, "a", "-n", "1")
    wait_until(lambda: "one" in logs.output)
    with written.open("a") as log:
        log.write(f"{BAR.format(25, 1)}\r{BAR.format(50, 2)}\n")
        log.flush()
        log.write("two\n")
    wait_until(lambda: "two" in logs.output)
    assert logs.output == f"one\n{BAR.format(50, 2)}\ntwo\n"
    logs.process.send_signal(signal.SIGINT)
    assert ended(logs) == 130


def test_on_a_terminal_a_bar_must_be_drawn_over_until_a_line_comes(project: Project, written: Path) -> None:
    written.write_text("one\n")
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    env, command = {"TERM": "xterm"} | project.env, project.sandbox.command("logs", "a", "-f")
    shown = ""

    def sees(text: str) -> bool:
        nonlocal shown
        with suppress(BlockingIOError):
            shown += os.read(ours, 1 << 16).decode()
        return text in shown

    with subprocess.Popen(command, env=env, cwd=project.sandbox.project, stdin=theirs, stdout=theirs) as process:
        wait_until(lambda: sees("one"))
        with written.open("a") as log:
            for text, expected in (("first 1%|", "first 1%|"), ("\rfirst 2%|", "first 2%|"), ("\nlast\n", "last")):
                log.write(text)
                log.flush()
                wait_until(lambda expected=expected: sees(expected))
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
    os.close(ours)
    os.close(theirs)
    assert shown == "one\r\nfirst 1%|\r\x1b[Kfirst 2%|\r\x1b[Kfirst 2%|\r\nlast\r\n"


@pytest.mark.parametrize("more", [[], ["-f"]], ids=["once", "followed"])
def test_a_reader_that_goes_away_must_end_it_quietly(project: Project, written: Path, more: list[str]) -> None:
    written.write_text("line\n" * (100 if more else 500_000))
    command = project.sandbox.command("logs", "a", *more)
    process = subprocess.Popen(
        command, env=project.env, cwd=project.sandbox.project, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == b"line\n"
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (128 + signal.SIGPIPE, b"")


# ----------------------------------------------------------------------------------------------------------- rotation


def test_an_engine_that_writes_fast_must_lose_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often its log is rotated, and whoever reads it meanwhile."""
    monkeypatch.setattr(log_parts, "LIMIT", LIMIT)
    log = tmp_path / "00001-0123abcd.log"
    log.write_bytes(b"x" * 9000)
    with log.open("r+b") as file:
        if not log_rotation._collapse(file.fileno(), 4096):
            pytest.skip("this file system cannot take a range out of a file: microseconds are lost")
    log.write_bytes(b"")
    engine = shell.spawn([sys.executable, "-c", WRITER], os.environ, tmp_path, log)
    heard: list[str] = []
    rotated = 0
    with closing(LogFollower(log)) as follower:
        while engine.poll() is None:
            rotated += sum(map(rotate, too_long(tmp_path)))
            heard += follower.poll()
        while more := follower.poll():
            heard += more
    assert rotated >= 2
    assert [int(line) for line in heard] == list(range(LINES))
    with closing(Written(log)) as written:
        kept = [int(line) for line in b"".join(written.all()).split()]
    assert kept[:1000] == list(range(1000))
    assert kept[-1] == LINES - 1
    after = len(first(log).read_bytes().split()) + 1  # the line in the midst of which the gap ends
    assert kept[after:] == list(range(kept[after], LINES))


SMALL = """
import sys
from orchestrator import log_parts
from orchestrator.cli.main import main
log_parts.LIMIT = 20_000
sys.exit(main(sys.argv[1:]))
"""


def test_a_changing_verb_must_rotate_what_is_too_long_and_leave_the_engine_alone(project: Project) -> None:
    pid = project.up()
    log = next((project.folder() / "logs").glob("*.log"))
    with log.open("a") as stream:
        stream.write("line\n" * 5000)
    whole = project.orch("logs", "a", "--raw").stdout
    project.profile(readiness={"timeout": "21s"})  # which needs no restart
    verb = project.sandbox.start_command([sys.executable, "-c", SMALL, "apply", "a", "--yes"])
    assert ended(verb) == 0, verb.output
    assert log.stat().st_size <= 4096
    assert alive(pid)
    project.orch("stop", "a")
    assert project.orch("logs", "a", "--raw").stdout.startswith(whole)
    assert "shutdown complete" in project.orch("logs", "a", "-n", "3").stdout
    assert log.with_name(f"{log.name}.1").exists()
    project.orch("delete", "a", "--yes")
    assert [file.name for file in project.folder().iterdir()] == ["lock"]
