"""From words to what is deleted, and what is not."""

from dataclasses import replace

import pytest

from orchestrator.cached import Cached, Found, User
from orchestrator.errors import InputError
from orchestrator.model import Pull, RepoUse
from orchestrator.removal import refusals, targets

A, B = "abcd" + "1" * 36, "abce" + "2" * 36
HUB, OTHER = "/hf/hub", "/other/hub"
MODEL = "org/model"


def cached(repo: str = MODEL, commit: str = A, cache: str = HUB, **more: object) -> Cached:
    one = Cached("cache", repo, cache, cache, f"{cache}/{repo}/{commit}", commit, size=1, total=1, here=1)
    return replace(one, **more)


MAIN, OLD = cached(names=("main", "v2")), cached(commit=B, names=("v1",), others=("main",))
ELSEWHERE = cached(cache=OTHER, names=("main",))
LEFT = Cached("cache", "org/left", HUB, HUB, size=1, missing=1)
FLAT = Cached("folder", "org/flat", "/hf/models--org--flat", path="/hf/models--org--flat")
FOUND = Found((MAIN, OLD, ELSEWHERE, LEFT, FLAT))


def chosen(*words: str) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(one.cache, one.repo, one.commits) for one in targets(words, FOUND)]


@pytest.mark.parametrize(
    ("word", "commits"),
    [
        (MODEL, {HUB: (A, B), OTHER: (A,)}),
        (f"{MODEL}@main", {HUB: (A,), OTHER: (A,)}),  # as orch takes it: to other tools it is B
        (f"{MODEL}@v1", {HUB: (B,)}),
        (f"{MODEL}@{A}", {HUB: (A,), OTHER: (A,)}),
        (f"{MODEL}@abce", {HUB: (B,)}),
        (f"{MODEL}@ABCE", {HUB: (B,)}),
        ("org/left", {HUB: ()}),
    ],
)
def test_a_word_means_these_commits(word: str, commits: dict[str, tuple[str, ...]]) -> None:
    assert {cache: found for cache, _, found in chosen(word)} == commits


def test_a_name_of_other_tools_means_their_commit_where_orch_has_none() -> None:
    (one,) = targets([f"{MODEL}@main"], Found((replace(MAIN, names=()), OLD)))
    assert one.commits == (B,)


def test_words_of_one_repository_are_one_target() -> None:
    assert chosen(f"{MODEL}@v1", f"{MODEL}@v2", f"{MODEL}@v1") == [(HUB, MODEL, (B, A))]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("org/modle", "cannot remove org/modle: no cache here has it; did you mean org/model?"),
        ("who/knows", "cannot remove who/knows: no cache here has it; `orch models` lists what there is"),
        (f"{MODEL}@v9", "org/model is not cached at that revision; there is main, v2 (abcd1111)"),
        (f"{MODEL}@abc", "org/model is not cached at that revision"),
        (f"{MODEL}@", "no revision stands behind the @"),
        ("org/flat", "/hf/models--org--flat is a folder, and none that orch made; delete it yourself"),
        ("/hf/models--org--flat", "/hf/models--org--flat is a folder, and none that orch made"),
    ],
)
def test_a_word_that_means_nothing_is_told(word: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        targets([word], FOUND)
    assert message in str(caught.value)


def test_several_commits_that_begin_alike_are_asked_about() -> None:
    near = cached(commit="abcd" + "9" * 36)
    with pytest.raises(InputError, match="several commits begin so; name one"):
        targets([f"{MODEL}@abcd"], Found((MAIN, near)))


# ----------------------------------------------------------------------------------------------------------- refusals


def user(name: str = "a", kind: str = "running", commit: str = A, **more: object) -> User:
    made = User(name, kind, HUB, (RepoUse("model", MODEL),), {"model": commit})  # type: ignore[arg-type]
    return replace(made, **more)


def refused(word: str, *users: User, found: Found = FOUND) -> list[str]:
    return [str(one) for one in refusals(targets([word], found), users, found)]


def test_what_runs_keeps_the_commit_that_it_was_started_from() -> None:
    assert refused(MODEL, user()) == [
        "cannot remove org/model@abcd1111: a runs and was started from it; `orch stop a` first"
    ]
    assert refused(f"{MODEL}@v1", user()) == []
    assert refused(f"{MODEL}@v1", user(commit=B), user(commit=B)) == [
        "cannot remove org/model@abce2222: a runs and was started from it; `orch stop a` first"
    ]


def test_what_runs_in_another_project_does_so_too() -> None:
    (line,) = refused(MODEL, user(project="lab-1"))
    assert line.endswith("a in project lab-1 runs and was started from it; stop it there first")


@pytest.mark.parametrize("kind", ["profile", "deployed", "stopped"])
def test_what_does_not_run_keeps_nothing(kind: str) -> None:
    assert refused(MODEL, user(kind=kind)) == []


def test_another_cache_is_no_concern_of_it() -> None:
    assert refused(MODEL, user(cache="/third/hub")) == []


def test_a_commit_that_nobody_knows_keeps_all_that_it_may_be() -> None:
    unknown = user(commits={}, uses=(RepoUse("code of x", MODEL, "dev", "code"),))
    assert len(refused(MODEL, unknown)) == 2


def test_what_is_being_fetched_stays() -> None:
    pulled = Pull(MODEL, B, HUB, 4711, 1, "boot")
    found = Found((MAIN, replace(OLD, pull=pulled), ELSEWHERE))
    line = "cannot remove org/model: an orch (pid 4711) is fetching it; wait for it, or end it"
    assert refused(f"{MODEL}@{A}", found=found) == [line]
    assert refused(MODEL, found=Found((MAIN, OLD, ELSEWHERE))) == []
