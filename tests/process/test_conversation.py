"""A program asked line by line: what it answers, what it says meanwhile, and how it ends whatever happens."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.sandbox import wait_until

from orchestrator.errors import FetchFailed, HostError
from orchestrator.hub.talk import Child
from orchestrator.shell import Conversation

ECHO = """
import os, sys, time
for line in sys.stdin:
    word = line.strip()
    print("heard " + word, file=sys.stderr, flush=True)
    if word == "end": sys.exit(3)
    if word == "fork": os.fork(), time.sleep(600)
    if word == "hang": time.sleep(600)
    print(word.upper(), flush=True)
"""


class Talk:
    def __init__(self) -> None:
        self.heard: list[str] = []
        self.program = Conversation([sys.executable, "-c", ECHO], dict(os.environ), self.heard.append)


@pytest.fixture
def talk() -> Iterator[Talk]:
    made = Talk()
    yield made
    made.program.end()


def group(pid: int) -> bool:
    """Whether anything of the program's session lives."""
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_each_question_has_its_answer_and_what_is_said_meanwhile_is_heard(talk: Talk) -> None:
    assert [talk.program.ask(word) for word in ("one", "two")] == ["ONE", "TWO"]
    wait_until(lambda: talk.heard == ["heard one", "heard two"])


def test_a_program_that_ends_gives_no_answer_and_none_after_that(talk: Talk) -> None:
    assert talk.program.ask("end") is None
    assert talk.heard == ["heard end"]
    assert talk.program.ask("more") is None


def test_one_that_hangs_is_ended_in_time(talk: Talk) -> None:
    assert talk.program.ask("hang", timeout=0.2) is None
    wait_until(lambda: not group(talk.program.pid))


def test_an_interruption_ends_it_with_its_children_at_once(talk: Talk) -> None:
    def interrupt() -> None:
        wait_until(lambda: "heard fork" in talk.heard)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        talk.program.ask("fork")
    wait_until(lambda: not group(talk.program.pid))


def test_a_program_that_is_not_there_is_said() -> None:
    with pytest.raises(HostError, match="cannot execute /no/such/program: no such file"):
        Conversation(["/no/such/program"], {}, lambda _: None)


def test_a_child_that_cannot_talk_tells_its_last_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.hub.talk.COMMAND", (sys.executable, "-c", "raise SystemExit('out of order')"))
    from orchestrator.hub.child.job import Job

    with pytest.raises(FetchFailed, match="cannot talk to the Hub: out of order"):
        Child({}).do(Job("list", "http://127.0.0.1:9", 0))
