"""A child that answers, fails, ends or hangs: the fork of a fresh process, for this one may have threads."""

import subprocess
import sys
from pathlib import Path

import pytest

CHILD = """
import os, signal, sys, time
from orchestrator.aside import Aside
{setup}
asked = Aside(look, {patience})
for _ in range({times}):
    try:
        print("answer", asked.ask())
    except (TimeoutError, ChildProcessError, RuntimeError) as error:
        print(type(error).__name__, error)
{after}
"""


def told(setup: str, *, patience: float = 20.0, times: int = 1, after: str = "") -> list[str]:
    text = CHILD.format(setup=setup, patience=patience, times=times, after=after)
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=30, check=True)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_what_it_answers_comes_back_whole_and_what_it_prints_does_not() -> None:
    large = "def look():\n    print('aside', flush=True)\n    return 'x' * 1_000_000"
    assert told(large, times=2) == [f"answer {'x' * 1_000_000}"] * 2


@pytest.mark.parametrize(
    ("look", "said"),
    [
        ("raise KeyError('card')", "RuntimeError KeyError: 'card'"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "ChildProcessError SIGSEGV"),
        ("os._exit(3)", "ChildProcessError exit status 3"),
    ],
)
def test_an_end_without_an_answer(look: str, said: str) -> None:
    assert told(f"def look():\n    {look}") == [said]


HANGS = """
def look():
    with open({begun!r}, "a") as begun:
        begun.write("begun ")
    while not os.path.exists({well!r}):
        signal.pause()
    return "well"
"""


def test_one_that_hangs_is_ended_and_another_is_asked_once_it_is_gone(tmp_path: Path) -> None:
    well, begun = tmp_path / "well", tmp_path / "begun"
    after = f"""
open({str(well)!r}, "w").close()
while True:
    try:
        print("then", asked.ask())
        break
    except TimeoutError:
        pass
"""
    setup = HANGS.format(begun=str(begun), well=str(well))
    assert told(setup, patience=1.0, after=after) == ["TimeoutError ", "then well"]
    assert begun.read_text() == "begun begun "


def test_no_second_one_is_asked_while_the_first_cannot_be_ended(tmp_path: Path) -> None:
    """As one that waits in the kernel, which no signal reaches."""
    begun = tmp_path / "begun"
    setup = HANGS.format(begun=str(begun), well=str(tmp_path / "never")) + "kill, os.kill = os.kill, lambda *_: None\n"
    ending = "kill(asked._late, signal.SIGKILL)"
    assert told(setup, patience=1.0, times=3, after=ending) == ["TimeoutError "] * 3
    assert begun.read_text() == "begun "


def test_nothing_of_the_parents_stays_open_in_one_that_hangs() -> None:
    """Else a lock would be held, and whoever reads the parent's output would wait, for as long as it hangs."""
    setup = """
held = os.pipe()
def look():
    places = [f"/proc/self/fd/{one}" for one in os.listdir("/proc/self/fd")]
    return [os.readlink(one).partition(":")[0] for one in places if os.path.lexists(one)]
"""
    [answer] = told(setup)
    assert answer.count("pipe") == 1
