"""`orch pull`: weights on their own."""

import json
import os
import signal
from pathlib import Path

import pytest
from deploy_kit import ended
from fakes.hub import Hub
from fakes.sandbox import Sandbox, wait_until

REPO = "org/model"
FILES = {
    "config.json": b"{}",
    "model.safetensors": os.urandom(6 << 20),
    "pytorch_model.bin": b"b" * 100_000,
    "m-Q4_K_M.gguf": b"q" * 100_000,
    "m-Q8_0.gguf": b"Q" * 100_000,
}


@pytest.fixture
def home(sandbox: Sandbox, hub: Hub) -> Sandbox:
    sandbox.env["HF_ENDPOINT"] = hub.endpoint
    sandbox.env["HF_HOME"] = str(sandbox.home / "hf")
    return sandbox


def held(cache: Path, repo: str = REPO) -> set[str]:
    """The files of the snapshots that are there whole."""
    tops = (cache / f"models--{repo.replace('/', '--')}" / "snapshots").iterdir()
    return {str(path.relative_to(top)) for top in tops for path in top.rglob("*") if path.is_file()}


def pull(home: Sandbox, *args: str, code: int = 0) -> str:
    done = home.orch("pull", *args)
    assert done.code == code, f"{done.stdout}\n{done.stderr}"
    return done.stdout if code == 0 else done.stderr


def test_a_repository_goes_to_the_callers_own_cache(home: Sandbox, hub: Hub) -> None:
    commit = hub.add(REPO, FILES)
    cache = home.home / "hf/hub"
    assert pull(home, REPO) == (
        f"{REPO}@{commit[:8]} is complete: 6.3 MB in 2 files (safetensors), verified, in {cache}\n"
    )
    assert held(cache) == {"config.json", "model.safetensors"}


def test_patterns_say_exactly_what_is_fetched(home: Sandbox, hub: Hub) -> None:
    hub.add(REPO, FILES)
    pull(home, REPO, "--include", "*.gguf", "--exclude", "*Q8*")
    assert held(home.home / "hf/hub") == {"m-Q4_K_M.gguf"}
    pull(home, f"{REPO}:Q8_0")
    assert held(home.home / "hf/hub") == {"m-Q4_K_M.gguf", "m-Q8_0.gguf", "config.json"}
    assert "none of its files matches" in pull(home, REPO, "--include", "*.nothing", code=1)


def test_a_revision_is_a_branch_a_tag_or_a_commit(home: Sandbox, hub: Hub) -> None:
    first = hub.add(REPO, {"config.json": b"1", "model.safetensors": b"1" * 1000})
    hub.tag(REPO, "v1", first)
    hub.add(REPO, {"config.json": b"2", "model.safetensors": b"2" * 1000})
    for revision in ("v1", first):
        assert f"{REPO}@{first[:8]}" in pull(home, REPO, "--revision", revision)
    assert f"{REPO}@{first[:8]}" in pull(home, f"{REPO}@v1")
    assert "there is main, v1" in pull(home, REPO, "--revision", "other", code=1)


def test_a_commit_stays_until_it_is_refreshed(home: Sandbox, hub: Hub) -> None:
    first = hub.add(REPO, FILES)
    pull(home, REPO)
    second = hub.add(REPO, FILES | {"config.json": b'{"new": 1}'})
    assert first[:8] in pull(home, REPO)
    assert second[:8] in pull(home, REPO, "--refresh")
    assert second[:8] in pull(home, REPO)
    assert hub.sent("model.safetensors") == len(FILES["model.safetensors"]), "its content did not change"


def test_a_profile_or_the_model_it_serves_goes_to_its_own_cache(home: Sandbox, hub: Hub, fake_runtime: Path) -> None:
    hub.add(REPO, FILES)
    home.environment(fake_runtime, cache={"hf_home": str(home.home / "data")})
    home.profile("a", 18000, model={"repo": REPO})
    for path in ("a", "profiles", "profiles/a.yaml", REPO):
        assert str(home.home / "data/hub") in pull(home, path)
    assert not (home.home / "hf").exists()
    assert hub.sent("model.safetensors") == len(FILES["model.safetensors"])


def test_a_repository_that_no_profile_names_goes_where_the_projects_models_are(
    home: Sandbox, hub: Hub, fake_runtime: Path
) -> None:
    hub.add("org/other", FILES)
    home.environment(fake_runtime, cache={"hf_home": str(home.home / "data")}, secrets={"HF_TOKEN": {"env": "UNSET"}})
    assert str(home.home / "data/hub") in pull(home, "org/other")
    home.environment(fake_runtime, "second", cache={"hf_home": str(home.home / "more")})
    assert str(home.home / "hf/hub") in pull(home, "org/other"), "two places: the caller's own"
    assert str(home.home / "more/hub") in pull(home, "org/other", "--environment", "second")
    assert "there is no environments/third.yaml; there is fake, second" in pull(home, REPO, "-e", "third", code=1)


def test_verify_must_find_what_changed_since(home: Sandbox, hub: Hub) -> None:
    hub.add(REPO, FILES)
    pull(home, REPO)
    blob = (next((home.home / "hf/hub").glob("models--*/snapshots/*/model.safetensors"))).resolve()
    before = blob.stat()
    data = bytearray(blob.read_bytes())
    data[1000] ^= 1
    blob.write_bytes(data)
    os.utime(blob, ns=(before.st_atime_ns, before.st_mtime_ns))
    pull(home, REPO)
    assert hub.sent("model.safetensors") == len(data), "of the same size and time: believed"
    done = home.orch("pull", REPO, "--verify")
    assert done.code == 0
    assert f"model.safetensors of {REPO} is corrupt; it is set aside as" in done.stderr
    assert hub.sent("model.safetensors") == 2 * len(data)
    assert blob.read_bytes() == FILES["model.safetensors"]
    assert blob.with_name(f"{blob.name}.corrupt").read_bytes() == data


def test_json_is_one_document(home: Sandbox, hub: Hub) -> None:
    commit = hub.add(REPO, FILES)
    found = json.loads(pull(home, REPO, "--output", "json"))
    (one,) = found["weights"]
    assert found["version"] == 1
    assert (one["repo"], one["commit"], one["complete"], one["files"]) == (REPO, commit, True, 2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_pull_must_end_at_once_and_go_on_where_it_was(home: Sandbox, hub: Hub, number: int) -> None:
    hub.add(REPO, FILES | {"model.safetensors": os.urandom(40 << 20)})
    gate = hub.gate("model.safetensors", after=1 << 20, times=None)
    running = home.start("pull", REPO)
    assert gate.reached.wait(20)
    running.process.send_signal(number)
    assert ended(running) == 130
    assert "what came is kept" in running.output
    assert home.lingering() == {}
    hub.faults.clear()
    hub.release()
    assert "is complete" in pull(home, REPO)


def test_nothing_to_pull_is_said(home: Sandbox) -> None:
    home.profile("a", 18000)
    assert "no repository on the Hub is named" in pull(home, "a")
    assert "nothing is deployed here; name a profile" in pull(home)
    assert "a is a profile, which says both" in pull(home, "a", "--revision", "main", code=64)


def test_progress_must_show_where_there_is_no_terminal(home: Sandbox, hub: Hub) -> None:
    hub.add(REPO, FILES)
    gate = hub.gate("model.safetensors", after=1 << 20, times=None)
    running = home.start("pull", REPO)
    assert gate.reached.wait(20)
    wait_until(lambda: f"fetching {REPO}@" in running.output)
    hub.faults.clear()
    hub.release()
    assert ended(running) == 0
    assert "\x1b" not in running.output


def test_what_is_no_url_must_be_said_at_once(home: Sandbox) -> None:
    home.env["HF_ENDPOINT"] = "mirror.example"
    assert "HF_ENDPOINT is mirror.example, which is no URL; write it as https://HOST" in pull(home, REPO, code=1)


def test_a_second_try_must_not_seem_to_go_backwards(home: Sandbox, hub: Hub) -> None:
    files = {"config.json": b"{}", "a.safetensors": b"a" * (5 << 20), "b.safetensors": b"b" * (5 << 20)}
    hub.add(REPO, files)
    pull(home, REPO, "--include", "a.safetensors", "--include", "config.json")
    gate = hub.gate("b.safetensors", after=1000, times=None)
    running = home.start("pull", REPO)
    assert gate.reached.wait(20)
    wait_until(lambda: " 50%  5.2 MB of 10.5 MB" in home.orch("status").stdout)
    hub.faults.clear()
    hub.release()
    assert ended(running) == 0
