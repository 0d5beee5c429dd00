"""What `orch models` prints. The texts are in golden/models; UPDATE_GOLDEN=1 writes them anew."""

from collections.abc import Callable
from dataclasses import replace

import golden
import pytest
from builders import NOW

from orchestrator.cached import Adoption, Cached, Found, Removal, User, users_of
from orchestrator.model import Pull, RepoUse
from orchestrator.models_table import adopted_text, ago, models_json, models_text
from orchestrator.removal import Target, question_text, removed_text

A, B, C = (one * 40 for one in "abc")
HUB = "/data/hf/hub"
QWEN = "Qwen/Qwen3-32B-AWQ"
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
DAY = 86_400
GB = 10**9


def cached(
    repo: str = QWEN, commit: str = A, total: int = 19_400_000_000, here: int | None = None, **more: object
) -> Cached:
    """Whole and verified, unless it says otherwise."""
    held = total if here is None else here
    path = f"{HUB}/{repo}/{commit}"
    whole = Cached("cache", repo, HUB, HUB, path, commit, size=held, total=total, here=held, missing=int(held < total))
    return replace(whole, **more)


def folder(name: str, **more: object) -> Cached:
    path = f"/data/hf/{name}"
    one = Cached("folder", "", path, path=path, size=5 * GB, total=5 * GB, here=5 * GB, unverified=5 * GB)
    return replace(one, **more)


def user(name: str, kind: str = "profile", repo: str = QWEN, commit: str = "", **more: object) -> User:
    commits = {"model": commit} if commit else {}
    made = User(name, kind, HUB, (RepoUse("model", repo),), commits)  # type: ignore[arg-type]
    return replace(made, **more)


MAIN = cached(names=("main",))
OLD = cached(commit=B, others=("main",), read_at=NOW - 12 * DAY)
LEFT = Cached("cache", "org/left", HUB, HUB, size=GB, missing=1)
PULL = Pull(QWEN, A, HUB, 4711, 1, "boot")

CASES: dict[str, Callable[[], tuple[Found, list[User]]]] = {
    "nothing": lambda: (Found(places=("/data/hf/hub", "/home/u/.cache/huggingface/hub")), []),
    "states": lambda: (
        Found(
            (
                MAIN,
                cached(LLAMA, names=("main",), unverified=GB, read_at=NOW - 3 * 3600),
                cached("org/half", here=11_834_000_000),
                replace(cached("org/hidden", here=GB), total=None),
                cached("org/texts", here=100_000, weights=False, names=("main", "v1.0")),
                cached("org/empty", here=0, missing=3),
                cached("org/pulled", here=4 * GB, pull=PULL),
                cached("org/hashed", unverified=GB, pull=replace(PULL, doing="verifying")),
                cached("org/spoilt", corrupt=("a.bin is a link to nothing", "b.json has 1 bytes and the Hub lists 2")),
                LEFT,
            ),
            (HUB,),
            77_700_000_000,
            {(QWEN, HUB): 2 * GB},
        ),
        [],
    ),
    "users": lambda: (
        Found((MAIN, OLD, cached(LLAMA, names=("main",), read_at=NOW - 90)), (HUB,), 39 * GB),
        [
            user("qwen"),
            user("qwen", "running", commit=A, started=NOW - 3 * DAY),
            user("tuned", "running", commit=A, project="lab-12345678"),
            user("old", "stopped", commit=B, started=NOW - 40 * DAY),
            user("older", "deployed", commit=B, started=NOW - 50 * DAY),
            user("older", "revision", commit=B, number=4),
            user("qwen", "revision", commit=B, number=1),
            user("qwen", "revision", commit=B, number=3),
            user("llama", repo=LLAMA),
            user("elsewhere", "running", cache="/other/hub", commit=A),
        ],
    ),
    "folders": lambda: (
        Found(
            (
                folder("models--org--flat", repo="org/flat", commit=A),
                folder("mine", total=8 * GB, missing=2),
                folder("texts", weights=False, missing=1, total=None),
            ),
            (HUB,),
            15 * GB,
        ),
        [User("byhand", "profile", path="/data/hf/mine")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_models_text(name: str) -> None:
    golden.check("models", name, models_text(*CASES[name](), NOW))


QUESTIONS: dict[str, Callable[[], str]] = {
    "question": lambda: question_text(
        [
            (Target((MAIN,)), Removal(QWEN, HUB, (A,), False, 19 * GB, 400_000_000)),
            (Target((LEFT,)), Removal("org/left", HUB, (), True, GB)),
        ],
        [
            user("qwen"),
            user("qwen", "stopped", commit=A),
            user("b", "deployed", commit=A),
            user("c"),
            user("c", "revision", commit=A, number=3),
        ],
        Found((MAIN, OLD)),
    ),
    "removed": lambda: "\n".join(
        [
            removed_text(Target((MAIN, OLD)), Removal(QWEN, HUB, (A, B), True, 19 * GB)),
            removed_text(Target((LEFT,)), Removal("org/left", HUB, (), True, 5000)),
        ]
    ),
    "adopted": lambda: adopted_text(Adoption(QWEN, A, "main", HUB, 14, 19_400_000_000, 14, 0, 19_400_000_000)),
    "adopted-partly": lambda: adopted_text(
        Adoption(QWEN, A, A, HUB, 14, 19_400_000_000, 10, 2, 19_100_000_000, ("config.json",)), "lab"
    ),
    "adopted-before": lambda: adopted_text(Adoption(QWEN, A, "v1", HUB, 1, GB, 0, 1, GB)),
}  # fmt: skip


@pytest.mark.parametrize("name", QUESTIONS)
def test_what_rm_and_adopt_say(name: str) -> None:
    golden.check("models", name, QUESTIONS[name]())


def test_every_text_has_its_case() -> None:
    assert golden.unused("models", set(CASES) | set(QUESTIONS)) == set()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "just now"), (59, "just now"), (60, "1m ago"), (3599, "59m ago"), (3600, "1h ago"), (DAY * 400, "400d ago")],
)
def test_ago_names_the_largest_unit(seconds: float, text: str) -> None:
    assert ago(seconds) == text


def test_json_tells_the_same_to_a_program() -> None:
    found, users = CASES["users"]()
    document = models_json(found, users, NOW)
    assert (document["version"], document["on_disk_bytes"], document["places"]) == (1, 39 * GB, [HUB])
    first, second, _ = document["models"]
    assert (first["repo"], first["commit"], first["revisions"], first["state"]) == (QWEN, A, ["main"], "complete")
    assert first["used_by"] == [
        {"name": "qwen", "as": "running", "project": None},
        {"name": "tuned", "as": "running", "project": "lab-12345678"},
        {"name": "qwen", "as": "profile", "project": None},
    ]
    assert (second["revisions"], second["revisions_of_other_tools"]) == ([], ["main"])
    assert (second["last_start"], second["last_read"]) == (NOW - 40 * DAY, NOW - 12 * DAY)
    left = models_json(*CASES["states"](), NOW)["leftovers"]
    assert left == [{"repo": QWEN, "cache": HUB, "bytes": 2 * GB}]


# ---------------------------------------------------------------------------------------------------------- who uses it


def names(one: Cached, *users: User, every: tuple[Cached, ...] = (MAIN, OLD)) -> list[str]:
    return [found.name for found in users_of(one, users, every)]


def test_a_commit_is_used_by_who_was_started_from_exactly_it() -> None:
    started = user("a", "running", commit=B)
    assert names(MAIN, started) == []
    assert names(OLD, started) == ["a"]
    assert names(OLD, replace(started, cache="/other/hub")) == []


def test_a_profile_uses_the_commit_that_its_revision_leads_to() -> None:
    pinned = replace(user("p"), uses=(RepoUse("model", QWEN, B),))
    assert [names(one, user("a"), pinned) for one in (MAIN, OLD)] == [["a"], ["p"]]


def test_a_revision_that_was_never_resolved_may_mean_any_commit() -> None:
    dev = replace(user("a"), uses=(RepoUse("tokenizer", QWEN, "dev", "texts"),))
    assert [names(one, dev) for one in (MAIN, OLD)] == [["a"], ["a"]]
    elsewhere = cached(names=("dev",), cache="/other/hub")
    assert [names(one, dev, every=(MAIN, OLD, elsewhere)) for one in (MAIN, OLD)] == [["a"], ["a"]]


def test_a_folder_is_used_by_its_path() -> None:
    by_path = User("a", "profile", path=MAIN.path)
    assert names(MAIN, by_path) == ["a"]
    assert names(OLD, by_path) == []
