"""What is remembered of starts, and what to go back to."""

from dataclasses import replace

from builders import NOW, leftovers, refused, remembered, running, seen, wanted

from orchestrator import history
from orchestrator.codec import digest
from orchestrator.model import Attempt, Deployment, Intent, Phase, Record, Revision

OLD, NEW = wanted(max_model_len=4096), wanted(max_model_len=8192)
ATTEMPT = Attempt("00002-x", 5000, 1, "boot", NOW, NEW)


def test_a_start_is_recorded_without_touching_what_was_good() -> None:
    before = remembered(OLD, intent=Intent.STOPPED, because="replaced by llama", rejected=(refused(NEW),))
    after = history.started(before, "qwen", ATTEMPT)
    assert after == replace(before, intent=Intent.RUNNING, because="", attempt=ATTEMPT)
    assert after.revision == before.revision


def test_the_first_start_makes_the_record() -> None:
    assert history.started(None, "qwen", ATTEMPT) == Record("qwen", attempt=ATTEMPT)


def test_success_makes_a_revision_and_clears_its_own_digest_only() -> None:
    before = history.started(remembered(OLD, rejected=(refused(NEW), refused(OLD))), "qwen", ATTEMPT)
    revision = Revision(2, digest(NEW.spec), NEW, NOW + 80)
    after = history.succeeded(before, revision, NOW + 80)
    assert after.revision == revision
    assert after.rejected == (refused(OLD),)
    assert after.attempt == replace(ATTEMPT, ready_at=NOW + 80, stage="serving")


def test_success_of_what_was_stopped_means_it_is_to_run() -> None:
    before = history.paused(remembered(OLD), "by hand")
    after = history.succeeded(before, Revision(1, digest(OLD.spec), OLD, NOW), NOW)
    assert (after.intent, after.because) == (Intent.RUNNING, "")


def test_failure_keeps_the_good_revision_and_says_why() -> None:
    before = history.started(remembered(OLD), "qwen", ATTEMPT)
    after = history.failed(before, NEW, "CUDA out of memory", NOW, "/log")
    assert after.revision == before.revision
    assert after.attempt == replace(ATTEMPT, ended="CUDA out of memory")
    assert [(one.digest, one.why, one.log) for one in after.rejected] == [
        (digest(NEW.spec), "CUDA out of memory", "/log")
    ]


def test_failing_again_is_remembered_once_and_as_the_latest() -> None:
    record = Record("qwen")
    for why, one in (("first", NEW), ("other", OLD), ("second", NEW)):
        record = history.failed(record, one, why, NOW, "")
    assert [one.why for one in record.rejected] == ["other", "second"]


def test_only_the_last_failures_are_kept() -> None:
    record = Record("qwen")
    for length in range(1, 21):
        record = history.failed(record, wanted(max_model_len=length), str(length), NOW, "")
    assert [one.why for one in record.rejected] == [str(length) for length in range(13, 21)]


def test_paused() -> None:
    before = remembered(OLD)
    assert history.paused(before, "by hand") == replace(before, intent=Intent.STOPPED, because="by hand")


def test_fallback_is_what_was_stopped_as_it_ran() -> None:
    ran = wanted("a", port=1, env={"A": "1"})
    known = wanted("a", port=1, timeout=77)
    before = seen([running(ran), running(wanted("b", port=2), pid=5000)], [remembered(known)])
    assert history.fallback(["a", "a"], before) == (replace(known, spec=ran.spec),)


def test_fallback_without_a_revision_is_the_bare_spec() -> None:
    before = seen([running(OLD)])
    assert history.fallback(["qwen"], before) == (Deployment("qwen", "", OLD.spec),)


def test_fallback_of_one_that_was_not_ready_is_the_revision_that_was() -> None:
    for broken in (running(NEW, phase=Phase.STARTING), running(NEW, phase=Phase.UNHEALTHY), running(NEW, spec=None)):
        assert history.fallback(["qwen"], seen([broken], [remembered(OLD)])) == (OLD,)


def test_fallback_takes_the_newest_of_two() -> None:
    before = seen([running(OLD, attempt="00001-x"), running(NEW, attempt="00002-x", pid=5000)])
    assert [one.spec for one in history.fallback(["qwen"], before)] == [NEW.spec]


def test_nothing_to_go_back_to() -> None:
    assert history.fallback(["qwen"], seen([leftovers(OLD)], [remembered(OLD)])) == ()
    assert history.fallback(["qwen"], seen([running(OLD, spec=None)])) == ()
    assert history.fallback([], seen([running(OLD)])) == ()
