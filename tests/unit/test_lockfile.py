"""orch.lock as a value: its text, what it is held against, and what a deployment becomes by it."""

import re
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from builders import BUILT, COMMIT, VENV, wanted
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import saved
from orchestrator.errors import InputError
from orchestrator.lock_changes import (
    Wants,
    absent,
    change_lines,
    changes,
    differences,
    held,
    merge,
    missing,
    unheld_models,
    unheld_runtime,
    unused,
)
from orchestrator.lock_store import read_lock, write_lock
from orchestrator.lockfile import (
    EMPTY,
    NAME,
    Base,
    Lock,
    LockedModel,
    LockedRuntime,
    asked,
    bare,
    is_package,
    ordered,
    parse,
    render,
    runtime_key,
)
from orchestrator.model import RemoteFile, RuntimeSpec, Source
from orchestrator.pins import at_lock, carried, locked
from orchestrator.saved import Origin, Saved

BASE = Base("/srv/lab", "/home/u", "linux-x86_64")
OTHER = "8" * 40
FILES = (RemoteFile("config.json", 663, "a" * 40), RemoteFile("model.safetensors", 3_000_000, "b" * 64))
MODEL = LockedModel("Qwen/Qwen3-32B-AWQ", "main", COMMIT, FILES)
PACKAGES = (f"torch==2.9.0+cpu --hash=sha256:{'c' * 64}", "vllm==0.32.0")
RUNTIME = LockedRuntime(asked(BUILT, BASE), "linux-x86_64", "3.11", PACKAGES)
LOCK = Lock((MODEL,), (RUNTIME,))

words = st.text(min_size=1, max_size=6)
commits = st.text("0123456789abcdef", min_size=40, max_size=40)
blobs = commits | st.text("0123456789abcdef", min_size=64, max_size=64)
files = st.lists(
    st.builds(RemoteFile, words, st.integers(0, 10**15), blobs), max_size=3, unique_by=lambda one: one.path
)
sorted_files = files.map(lambda found: tuple(sorted(found, key=lambda one: one.path)))
revisions = st.sampled_from(("main", "v2", "refs/pr/1"))
models = st.builds(LockedModel, words, revisions, commits, sorted_files, st.booleans())
hashes = st.sampled_from(("", f" --hash=sha256:{'d' * 64}"))
lines = st.builds("{}=={}{}".format, st.sampled_from(("a", "b-c", "D_e")), st.integers(0, 9), hashes)
specs = st.builds(
    RuntimeSpec,
    kind=st.just("requirements"),
    requirements=st.lists(words, min_size=1, max_size=2).map(tuple),
    overrides=st.lists(words, max_size=2).map(tuple),
    find_links=st.lists(words, max_size=2).map(tuple),
    python=st.just("") | words,
)
platforms = st.sampled_from(("linux-x86_64", "linux-aarch64"))
runtimes = st.builds(LockedRuntime, specs, platforms, words, st.lists(lines, max_size=3).map(tuple))
locks = st.builds(
    Lock,
    st.lists(models, max_size=3, unique_by=lambda one: one.key).map(tuple),
    st.lists(runtimes, max_size=3, unique_by=lambda one: (one.asked, one.platform)).map(tuple),
)


def read(text: str) -> Lock:
    return parse(text, NAME, lambda _: f"{NAME}:1:1")


def refusal(text: str) -> InputError:
    with tempfile.TemporaryDirectory() as folder, pytest.raises(InputError) as caught:
        Path(folder, NAME).write_text(text)
        read_lock(Path(folder))
    return caught.value


# ----------------------------------------------------------------------------------------------------------- the text


@given(locks)
def test_what_is_written_must_be_read_back(lock: Lock) -> None:
    assert read(render(lock)) == ordered(lock)


@given(locks)
def test_the_text_must_not_depend_on_any_order(lock: Lock) -> None:
    assert render(Lock(lock.models[::-1], lock.runtimes[::-1])) == render(lock)


def test_the_text_must_have_one_item_a_line(tmp_path: Path) -> None:
    write_lock(tmp_path, LOCK)
    text = (tmp_path / NAME).read_text()
    assert f'        "model.safetensors": "sha256:{"b" * 64} 3000000"\n' in text
    assert f'        "config.json": "git:{"a" * 40} 663",\n' in text
    assert '        "vllm==0.32.0"\n' in text
    assert read_lock(tmp_path) == LOCK
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o644


@given(locks, st.data())
def test_a_damaged_text_must_be_read_or_refused_with_its_place(lock: Lock, data: st.DataObject) -> None:
    text = render(lock)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 30)))
    broken = (
        text[:start] + data.draw(st.text(max_size=8) | st.sampled_from(("{", "]", '"', ": 1,", "null"))) + text[end:]
    )
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, NAME).write_text(broken, encoding="utf-8", errors="backslashreplace")
        try:
            found = read_lock(Path(folder))
        except InputError as error:
            assert re.search(rf"{NAME}:\d+:\d+$", error.at), error.at
            assert error.code in ("lock-damaged", "lock-newer")
        else:
            assert found == read(render(found or EMPTY))


@pytest.mark.parametrize(
    ("before", "after", "line", "why"),
    [
        ('"version": 1', '"version": 2', 28, "a newer orch wrote it"),
        ('"version": 1', '"version": true', 28, "version is not what it should be"),
        (f'"commit": "{COMMIT}",', "", 3, "commit is missing"),
        (COMMIT, "main", 4, "40 hex digits"),
        ('"main"', f'"{OTHER}"', 4, "the revision is another commit"),
        ("git:", "md5:", 6, "a file has a hash and a size"),
        ("torch==2.9.0+cpu", "--index-url http://evil", 21, "not one package"),
        ("torch==2.9.0+cpu", "torch @ https://u:secret@host/torch.whl", 21, "not one package"),
        ('"models": [', '"models": [\n<<<<<<< ours', 3, "a merge was left unfinished"),
        ('"repo"', '"commit": "", "repo"', 9, "twice"),
        ('"models": [', '"models": {', 3, "damaged"),
    ],
)
def test_what_is_wrong_must_be_said_where_it_stands(before: str, after: str, line: int, why: str) -> None:
    text = render(LOCK)
    assert before in text
    error = refusal(text.replace(before, after, 1))
    assert why in error.why
    assert "secret" not in str(error)
    assert re.search(rf"{NAME}:{line}:\d+$", error.at), error.at


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "{}", "[" * 100_000, '{"version": ' + "9" * 5000 + "}", "\0", "\ufeff{}"]
)
def test_what_is_no_lock_must_be_refused(text: str) -> None:
    assert refusal(text).code == "lock-damaged"


def test_an_entry_that_is_there_twice_must_be_refused() -> None:
    assert "twice" in refusal(render(Lock((MODEL, replace(MODEL, commit=OTHER)), ()))).why


def test_what_holds_in_one_folder_alone_must_not_be_written() -> None:
    places = ("/srv/lab/wheels", "/home/u/wheels", "/opt/wheels", "https://host/simple", "/srv/laboratory")
    found = asked(replace(BUILT, find_links=places, lock="0123"), BASE)
    assert found.find_links == ("./wheels", "~/wheels", "/opt/wheels", "https://host/simple", "/srv/laboratory")
    assert not found.lock


def test_a_line_for_uv_must_be_one_package_and_nothing_else() -> None:
    good = ("a==1", "a_b.c-d==1+cpu", "a @ https://host/a.whl", f"a==1 --hash=sha256:{'0' * 64}")
    bad = ("a", "a>=1", "-r x", "a==1 -i http://x", "a==1\n-r x", "a @ git+ssh://git@host/a", "", "a==1 --hash=md5:0")
    assert [is_package(one) for one in good + bad] == [True] * len(good) + [False] * len(bad)


def test_the_key_must_be_of_the_versions_and_of_their_hashes() -> None:
    assert RUNTIME.key == runtime_key(reversed(PACKAGES), "3.11", "linux-x86_64")
    others = (
        replace(RUNTIME, python="3.12"),
        replace(RUNTIME, platform="linux-aarch64"),
        replace(RUNTIME, packages=tuple(map(bare, PACKAGES))),
        replace(RUNTIME, packages=(PACKAGES[0].replace("cc", "cd"), PACKAGES[1])),
    )
    assert len({RUNTIME.key, *(one.key for one in others)}) == 5


def test_packages_without_a_hash_must_be_named() -> None:
    environment = Source("environments/lab.yaml")
    (told,) = unheld_runtime(LOCK, BUILT, environment, BASE)
    assert told.code == "no-hash"
    assert told.what.startswith("orch.lock has no hash of vllm: ")
    whole = replace(RUNTIME, packages=(PACKAGES[0], f"vllm==0.32.0 --hash=sha256:{'e' * 64}"))
    assert unheld_runtime(replace(LOCK, runtimes=(whole,)), BUILT, environment, BASE) == ()


# ------------------------------------------------------------------------------------------- what it is held against


@given(locks, locks)
def test_merging_again_must_change_nothing(lock: Lock, found: Lock) -> None:
    once = merge(lock, found)
    assert merge(once, found) == once
    assert changes(once, merge(once, found)) == ()
    assert not missing(once, held(found), "").models
    assert merge(once, EMPTY, once) == EMPTY
    assert {one.action for one in changes(once, EMPTY)} <= {"dropped"}


def test_what_is_missing_and_what_nobody_names_must_be_told() -> None:
    aarch = replace(RUNTIME, platform="linux-aarch64")
    code = LockedModel("org/code", "main", OTHER, (), code=True)
    lock = Lock((MODEL, code), (RUNTIME, aarch))
    wants = Wants({MODEL.key: "qwen", ("org/new", "main"): "new"}, {RUNTIME.asked: "environment lab"}, codes=True)
    assert unused(lock, wants) == EMPTY
    assert unused(lock, replace(wants, codes=False)).models == (code,)
    assert unused(lock, Wants(wants.models)).runtimes == (RUNTIME, aarch)
    lacking = missing(lock, wants, "linux-riscv64")
    assert [change_lines(one) for one in absent(lacking, "linux-riscv64")] == [
        ["missing  org/new@main: new names it"],
        ["missing  vllm==0.32.0 on linux-riscv64: environment lab asks for it"],
    ]


def test_a_change_must_say_from_what_to_what() -> None:
    newer = replace(RUNTIME, packages=("torch==2.10.0+cpu", "triton==3.6", "vllm==0.32.0"))
    after = Lock((replace(MODEL, commit=OTHER),), (newer,))
    lines = [line for one in changes(LOCK, after) for line in change_lines(one)]
    assert lines == [
        f"moved    Qwen/Qwen3-32B-AWQ@main: {COMMIT[:12]} -> {OTHER[:12]}, 2 files, 3.0 MB",
        f"moved    vllm==0.32.0 on linux-x86_64: {RUNTIME.key} -> {newer.key}, 3 packages, Python 3.11",
        "           torch 2.9.0+cpu -> 2.10.0+cpu",
        "           triton none -> 3.6",
    ]


def test_other_files_at_the_same_commit_must_be_told_by_name() -> None:
    listed = (replace(FILES[0], xet="x"), replace(FILES[1], size=1), RemoteFile("new.py", 1, "e" * 40))
    assert differences(MODEL, listed) == ["model.safetensors has another content", "new.py is not in the lock"]
    assert differences(MODEL, FILES[:1]) == ["model.safetensors is gone"]
    moved = changes(LOCK, replace(LOCK, models=(replace(MODEL, files=FILES[:1]),)))
    assert moved[0].details == ("model.safetensors is gone",)


def test_what_a_lock_does_not_hold_must_be_warned_of_where_it_is_written() -> None:
    one = wanted(revision="v2", runtime=replace(BUILT, requirements=("vllm==0.33.0",)))
    profile, environment = Source("p.yaml", {("model", "revision"): (4, 3)}), Source("e.yaml", {("runtime",): (2, 1)})
    (model,), (runtime,) = (
        unheld_models(LOCK, one.spec, profile),
        unheld_runtime(LOCK, one.spec.runtime, environment, BASE),
    )
    assert str(model) == (
        "p.yaml:4:3: warning: orch.lock does not hold Qwen/Qwen3-32B-AWQ at v2, but at main; `orch lock` adds it"
    )
    assert (runtime.at, runtime.code) == ("e.yaml:2:1", "not-locked")
    assert unheld_models(LOCK, wanted().spec, profile) == ()
    assert unheld_runtime(LOCK, VENV, environment, BASE) == ()


# --------------------------------------------------------------------------------------------- what comes of it


def nothing_built(_: RuntimeSpec) -> str:
    return ""


def test_a_lock_must_be_stronger_than_what_runs_and_weaker_than_a_commit_in_the_profile() -> None:
    runs = wanted(commits={"model": OTHER}).spec
    found = at_lock(wanted(), LOCK, runs, BASE, nothing_built).spec
    assert {**carried(found, runs), **found.commits} == {"model": COMMIT}
    assert at_lock(wanted(revision=OTHER), LOCK, runs, BASE, nothing_built).spec.commits == {}
    assert at_lock(wanted(), None, runs, BASE, nothing_built).spec.commits == {}


def test_a_runtime_must_be_that_of_the_lock_and_no_drift_where_it_is_that_already() -> None:
    def key(known: RuntimeSpec | None, lock: Lock | None = LOCK, built: str = "") -> str:
        runs = wanted(runtime=known).spec if known else None
        return at_lock(wanted(runtime=BUILT), lock, runs, BASE, lambda _: built).spec.runtime.lock

    assert key(None) == RUNTIME.key == locked(BUILT, LOCK, BASE).lock
    assert key(BUILT, built=RUNTIME.key) == ""
    assert key(BUILT, built="another") == RUNTIME.key
    assert key(replace(BUILT, lock="older")) == RUNTIME.key
    assert key(replace(BUILT, lock="older"), None) == "older"
    assert key(replace(BUILT, lock="older", python="3.12"), None) == ""
    assert key(replace(BUILT, lock="older"), EMPTY) == "older"
    assert at_lock(wanted(), LOCK, None, BASE, nothing_built).spec.runtime == VENV


def test_a_saved_plan_must_be_stale_when_the_lock_moved_after_it() -> None:
    plan = Saved(Origin("", "", ""), 0.0, (wanted(commits={"model": COMMIT}),))
    for lock, lines in ((LOCK, 0), (None, 0), (Lock((replace(MODEL, commit=OTHER),)), 1)):
        now = at_lock(wanted(), lock, None, BASE, nothing_built)
        assert len(saved.rewritten(plan, [now])) == lines
