import os
import signal

import pytest

from orchestrator.spread import processors, spread

# Python 3.12 and later warn where another test left a thread; orch itself has none when it forks.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@pytest.mark.parametrize("helpers", [0, 1, 3, 50])
@pytest.mark.parametrize("count", [0, 1, 2, 7, 100])
def test_the_answers_are_those_of_one_alone_in_the_same_order(helpers: int, count: int) -> None:
    assert spread(lambda item: item * 2, range(count), helpers) == [item * 2 for item in range(count)]


def test_a_part_is_done_by_another_process() -> None:
    answers = spread(lambda _: os.getpid(), range(4), 1)
    assert answers[:2] == [os.getpid()] * 2
    assert len(set(answers)) == 2


def test_the_part_of_a_helper_that_dies_is_done_here() -> None:
    me = os.getpid()

    def answer(item: int) -> int:
        if os.getpid() != me:
            os.kill(os.getpid(), signal.SIGKILL)
        return item

    assert spread(answer, range(9), 2) == list(range(9))


def test_an_answer_that_cannot_be_sent_is_found_here() -> None:
    answers = spread(lambda item: lambda: item, range(4), 1)
    assert [answer() for answer in answers] == [0, 1, 2, 3]


def test_what_goes_wrong_in_a_helper_is_raised_here_and_no_helper_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    fork = os.fork

    def recorded() -> int:
        started.append(fork())
        return started[-1]

    def answer(item: int) -> int:
        if item == 3:
            raise ValueError("three")
        return item

    monkeypatch.setattr(os, "fork", recorded)
    with pytest.raises(ValueError, match="three"):
        spread(answer, range(4), 1)
    assert len(started) == 1
    with pytest.raises(ChildProcessError):
        os.waitpid(started[0], os.WNOHANG)


def test_without_a_process_to_be_had_all_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise BlockingIOError

    monkeypatch.setattr(os, "fork", fork)
    assert spread(lambda item: item, range(9), 2) == list(range(9))


def test_answers_larger_than_a_pipe_arrive() -> None:
    assert spread(lambda item: "x" * 300_000, range(4), 3) == ["x" * 300_000] * 4


def test_there_is_a_processor() -> None:
    assert processors() >= 1
