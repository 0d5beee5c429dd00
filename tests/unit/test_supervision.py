"""What is said about who keeps a project up."""

from dataclasses import replace

import pytest
from builders import NOW, remembered, wanted

from orchestrator.model import Death, Watcher
from orchestrator.supervision import NOBODY, covers, lines, notes

Q = wanted()
HERE = Watcher(77, 770, "boot", NOW - 60)


def test_it_names_whoever_watches_and_what_ends_it() -> None:
    assert lines(None, NOW) == (NOBODY,)
    assert lines(HERE, NOW) == (
        "Watched: orch watch (pid 77) keeps up all that is deployed, since 1m ago; "
        "`kill 77` ends it, and nothing that runs.",
    )
    unit = replace(HERE, unit="orch-watch-lab-1234.service", paths=("profiles",), plans_only=True)
    assert lines(unit, NOW) == (
        "Watched: orch-watch-lab-1234.service (pid 77) reports on profiles, since 1m ago; "
        "`orch service uninstall` ends it.",
    )


def test_it_says_why_the_files_are_not_applied() -> None:
    troubled = replace(HERE, trouble="a.yaml:3:1: cannot use x: why; do y\nb.yaml:1:1: cannot use z: why; do y")
    assert lines(troubled, NOW)[1:] == (
        "The files are not applied: a.yaml:3:1: cannot use x: why; do y (and 1 more; see `orch validate`)",
    )


@pytest.mark.parametrize(
    ("watcher", "covered"),
    [
        (None, False),
        (HERE, True),
        (replace(HERE, plans_only=True), False),
        (replace(HERE, paths=("profiles",)), False),
        (replace(HERE, paths=("profiles",), names=("qwen",)), True),
    ],
)
def test_it_covers_what_it_was_given(watcher: Watcher | None, covered: bool) -> None:
    assert covers(watcher, "qwen") == covered


def test_it_says_how_the_starts_stand_that_nobody_asked_for() -> None:
    record = remembered(Q)
    assert notes(record, HERE, NOW, lives=True) == []
    died = replace(record, deaths=(Death("00001-qwen", NOW, "its API server ended by signal 9", 60.0),))
    waits = replace(died, retry_at=NOW + 12)
    assert notes(waits, HERE, NOW, lives=False) == ["starts again in 12s (1 of 5 within 1h)"]
    assert notes(waits, None, NOW, lives=False) == [
        "ended by itself once, last because its API server ended by signal 9"
    ]
    over = replace(died, given_up="it ended 6 times within 1h")
    assert notes(over, HERE, NOW, lives=False) == [
        "given up: it ended 6 times within 1h; `orch start qwen` tries again"
    ]


def test_it_says_of_a_hung_one_that_it_lives() -> None:
    hung = Death("00001-qwen", NOW, "its API server is stopped (SIGSTOP)", 60.0)
    record = replace(remembered(Q), deaths=(hung,))
    assert notes(record, HERE, NOW, lives=True) == [
        "it hangs: its API server is stopped (SIGSTOP); its restart policy leaves it so, "
        "`orch restart qwen` tries again"
    ]
    assert notes(replace(record, given_up="it ended 6 times within 1h"), HERE, NOW, lives=True) == [
        "it hangs: its API server is stopped (SIGSTOP)",
        "given up: it ended 6 times within 1h; `orch restart qwen` tries again",
    ]
