"""What `orch gc` takes for garbage, and what it says. The texts are in golden/gc; UPDATE_GOLDEN=1 writes them anew."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import golden
import pytest
from builders import leftovers, running, wanted
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.garbage import (
    Built,
    Done,
    Facts,
    File,
    Links,
    Logs,
    Part,
    Processes,
    Resolved,
    done_text,
    find,
    garbage_json,
    garbage_text,
    notes,
)

NOW = 1_800_000_000.0
GIB = 1 << 30
KEY, OTHER = "0123456789ab", "fedcba987654"
DATA = "/home/u/.local/share/orch/runtimes"
STATE = "/home/u/.local/state/orch/host/lab-1234"
QWEN = wanted()


def facts(**more: Any) -> Facts:
    return Facts("lab-1234", NOW, **more)


def built(**more: Any) -> Built:
    return replace(Built(KEY, f"{DATA}/{KEY}", f"{DATA}/{KEY}.lock"), **more)


def resolved(**more: Any) -> Resolved:
    return replace(Resolved(KEY, f"{DATA}/resolved/aa.json", f"{DATA}/{KEY}.lock", 2000, built=True), **more)


def logs(count: int, **more: Any) -> Logs:
    folder = f"{STATE}/qwen/logs"
    files = tuple(File(f"{folder}/{number:05d}-x.log", 1000) for number in range(count))
    return replace(Logs("qwen", folder, f"{STATE}/qwen/lock", files), **more)


def part(**more: Any) -> Part:
    path = f"/data/hf/hub/models--Qwen--Qwen3-32B-AWQ/blobs/{'ab' * 32}"
    made = Part("Qwen/Qwen3-32B-AWQ", "/data/hf/hub", File(f"{path}.part", 7 * 10**9), (f"{path}.map", f"{path}.part"))
    return replace(made, **more)


def laid(**more: Any) -> Links:
    return replace(Links("lab", "/home/u/.local/lib/orch/lab", "/home/u/.local/lib/orch/.lock"), **more)


def stale(seconds: float) -> File:
    return File(f"{STATE}/qwen/.record.json.abcd1234", 812, NOW - seconds, f"{STATE}/qwen/lock")


ORPHANS = leftovers(QWEN)
ELSEWHERE = replace(ORPHANS, marker=replace(ORPHANS.marker, project="other-5678"))

CASES: dict[str, Callable[[], Facts]] = {
    "nothing": facts,
    "everything": lambda: facts(
        processes=(Processes(ORPHANS, 3 * GIB), Processes(ELSEWHERE, GIB)),
        built=(built(), built(key=OTHER, path=f"{DATA}/{OTHER}", marked=False)),
        resolved=(resolved(),),
        logs=(logs(3, forgotten=True), logs(12, name="old of other-5678")),
        temporary=(stale(7200),),
        parts=(part(), part(user="qwen", repo="Qwen/Qwen3-4B")),
        links=(laid(), laid(environment="gone", broken=("/home/u/.local/lib/orch/gone/libcuda.so is gone",))),
    ),
    "kept": lambda: facts(parts=(part(user="qwen"),)),
    "one": lambda: facts(processes=(Processes(ORPHANS, 3 * GIB),)),
}


@pytest.mark.parametrize("name", CASES)
def test_the_list_is_as_agreed(name: str) -> None:
    golden.check("gc", name, garbage_text(find(CASES[name]())))


def test_no_golden_text_is_left_over() -> None:
    assert golden.unused("gc", set(CASES)) == set()


STAY = {
    "an engine that lives": facts(processes=(Processes(running(QWEN)),)),
    "what an `orch run` owns": facts(processes=(Processes(replace(ORPHANS, owned=True)),)),
    "what is being stopped": facts(processes=(Processes(ORPHANS, busy=True),)),
    "a start of which nothing lives": facts(processes=(Processes(replace(ORPHANS, children=())),)),
    "a runtime that is used": facts(built=(built(user="qwen"),)),
    "a runtime that a process runs in": facts(built=(built(process=42),)),
    "a runtime that is being built": facts(built=(built(marked=False, busy=True),)),
    "an unfinished build that something runs in": facts(built=(built(marked=False, process=42),)),
    "a runtime when not all can be read": facts(built=(built(),), unread=("environments/x.yaml",)),
    "a resolution that is used": facts(resolved=(resolved(user="qwen", built=False),)),
    "the resolution of a runtime that a process uses": facts(built=(built(process=42),), resolved=(resolved(),)),
    "a resolution whose runtime is being built": facts(resolved=(resolved(built=False, busy=True),)),
    "the last logs": facts(logs=(logs(10),)),
    "logs that a record speaks of": facts(logs=(logs(11, needed=frozenset({logs(1).logs[0].path})),)),
    "logs of a deployment that is being worked on": facts(logs=(logs(3, forgotten=True, busy=True),)),
    "a temporary file of a moment ago": facts(temporary=(stale(60),)),
    "a download that goes on": facts(parts=(part(busy=True),)),
    "links of an environment": facts(links=(laid(known=True),)),
    "links that are being laid": facts(links=(laid(broken=("x is gone",), busy=True),)),
}


@pytest.mark.parametrize("name", STAY)
def test_is_no_garbage(name: str) -> None:
    assert find(STAY[name], parts=True) == ()


def test_an_interrupted_build_goes_though_it_is_wanted_and_its_pinned_packages_stay() -> None:
    wanted_still = facts(built=(built(marked=False, user="qwen"),), resolved=(resolved(user="qwen"),), unread=("x",))
    assert [one.kind for one in find(wanted_still)] == ["runtime"]


def test_pinned_packages_go_with_their_runtime_and_after_it() -> None:
    assert [one.kind for one in find(facts(built=(built(),), resolved=(resolved(),)))] == ["runtime", "resolution"]


def test_all_logs_of_a_forgotten_deployment_go_and_of_another_those_beyond_the_last_ten() -> None:
    forgotten, other = find(facts(logs=(logs(12, forgotten=True, name="a"), logs(12, name="b"))))
    assert len(forgotten.paths) == 12
    assert other.paths == tuple(file.path for file in logs(2).logs)


def test_what_stands_beside_a_log_goes_before_it() -> None:
    """By the log it is found again, if that is interrupted."""
    old = File("/s/00001-x.log", 3000, beside=("/s/00001-x.log.1", "/s/00001-x.json"))
    (found,) = find(facts(logs=(replace(logs(10), logs=(old, *logs(10).logs)),)))
    assert found.paths == ("/s/00001-x.log.1", "/s/00001-x.json", "/s/00001-x.log")
    assert found.size == 3000


def test_a_download_that_somebody_goes_on_with_goes_only_when_that_is_asked_for() -> None:
    mine = facts(parts=(part(user="qwen"),))
    assert [bool(one.kept) for one in find(mine)] == [True]
    assert [bool(one.kept) for one in find(mine, parts=True)] == [False]


def test_broken_links_go_though_their_environment_is_there() -> None:
    assert [one.why for one in find(facts(links=(laid(known=True, broken=("x is gone",)),)))] == ["x is gone"]


def test_it_is_said_when_runtimes_could_not_be_judged() -> None:
    assert notes(facts(built=(built(),), unread=("environments/x.yaml",))) == (
        "runtimes are left alone, for nobody knows what is used by what cannot be read: environments/x.yaml",
    )
    assert notes(facts(built=(built(user="qwen"),), unread=("environments/x.yaml",))) == ()


def test_json_says_what_was_removed_and_what_was_not() -> None:
    found = find(CASES["everything"]())
    listed = garbage_json(found)["garbage"]
    assert {one["removed"] for one in listed} == {None}
    done = [Done(found[0]), Done(found[1], "cannot remove it: no")]
    tried = garbage_json(found, done)["garbage"]
    assert [(one["removed"], one["error"]) for one in tried[:3]] == [
        (True, None),
        (False, "cannot remove it: no"),
        (None, None),
    ]
    assert done_text(done) == "removed processes qwen, pid 4001"


@given(st.permutations((*CASES["everything"]().parts, part(repo="a/b"), part(repo="c/d"))))
def test_the_order_of_the_facts_does_not_matter(parts: list[Part]) -> None:
    assert find(facts(parts=tuple(parts))) == find(facts(parts=tuple(reversed(parts))))
