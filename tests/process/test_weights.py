"""Weights on the way to an engine: planned, fetched before anything stops, pinned to a commit, and served offline."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from deploy_kit import Project, ended, environ, serves
from fakes.hub import Hub
from fakes.sandbox import wait_until

from orchestrator.hub.parts import fetched

FILES = {"config.json": b'{"model_type": "qwen3"}', "model.safetensors": b"w" * 3_000_000, "README.md": b"# hello"}
REPO = "org/model"
BIG = 24 << 20


@pytest.fixture
def served(project: Project, hub: Hub) -> Project:
    """A project whose Hub has one model, and a profile ``a`` that serves it."""
    project.env["HF_ENDPOINT"] = hub.endpoint
    hub.add(REPO, FILES)
    project.profile(model={"repo": REPO})
    return project


def changed(hub: Hub) -> str:
    """Another commit on main."""
    return hub.add(REPO, FILES | {"model.safetensors": b"v" * 3_000_000})


def argv(pid: int) -> list[str]:
    return Path("/proc", str(pid), "cmdline").read_text().split("\0")


def revision(pid: int) -> str:
    return argv(pid)[argv(pid).index("--revision") + 1]


def cache(project: Project, repo: str = REPO) -> Path:
    return project.sandbox.home / ".cache/huggingface/hub" / f"models--{repo.replace('/', '--')}"


# ------------------------------------------------------------------------------------------------------------ the plan


def test_apply_must_fetch_then_start_the_engine_on_that_commit_offline(served: Project, hub: Hub) -> None:
    commit = hub.add(REPO, FILES)
    plan = served.plan("a")
    assert f"fetch {REPO}@{commit[:8]}" in plan
    assert "3.0 MB in 2 files (safetensors; 1 other file left out)" in plan
    served.apply("a")
    assert serves(served.port, "a")
    pid = served.engine()
    assert revision(pid) == commit
    assert environ(pid)["HF_HUB_OFFLINE"] == "1"
    held = {path.name: path.read_bytes() for path in (cache(served) / "snapshots" / commit).iterdir()}
    assert held == {name: data for name, data in FILES.items() if name != "README.md"}


def test_a_second_start_must_ask_the_hub_nothing(served: Project, hub: Hub) -> None:
    served.apply("a")
    served.orch("stop", "a")
    asked = len(hub.requests)
    assert "fetch" not in served.plan("a")
    served.apply("a")
    served.orch("restart", "a")
    assert len(hub.requests) == asked


def test_what_is_left_of_an_interrupted_fetch_must_count_as_here(served: Project, hub: Hub) -> None:
    hub.add(REPO, FILES | {"model.safetensors": os.urandom(BIG)})
    gate = hub.gate("model.safetensors", after=1 << 20, times=None)
    apply = served.sandbox.start("apply", "a", "--yes")
    assert gate.reached.wait(20)
    gate.release()
    hub.gate("model.safetensors", after=3 << 20, times=None)
    wait_until(lambda: came(served) >= 2 << 20)
    apply.process.send_signal(signal.SIGINT)
    assert ended(apply) == 130
    assert "already here" in served.plan("a")
    assert not served.engine()
    hub.faults.clear()
    hub.release()
    served.apply("a")
    assert serves(served.port, "a")


def came(project: Project) -> int:
    """Bytes of the large file that are kept."""
    return sum(fetched(path.with_suffix(""), BIG) for path in cache(project).glob("blobs/*.map"))


def test_two_deployments_of_one_model_must_fetch_it_once(served: Project, hub: Hub) -> None:
    served.profile("b", served.free_port(), model={"repo": REPO})
    plan = served.orch("plan", "a", "b").stdout
    assert plan.count(f"fetch {REPO}") == 1
    served.orch("apply", "a", "b", "--yes")
    assert hub.sent("model.safetensors") == len(FILES["model.safetensors"])


# ------------------------------------------------------------------------------------------------- nothing stops first


@pytest.mark.parametrize("trouble", ["gated", "unknown", "no revision", "no space", "corrupt"])
def test_weights_that_cannot_be_had_must_leave_what_runs_alone(served: Project, hub: Hub, trouble: str) -> None:
    served.apply("a")
    pid = served.engine()
    hub.add("org/gated", FILES, gated=True, token="hf_right")
    hub.add("org/huge", FILES, sizes={"model.safetensors": 10**15})
    hub.add("org/bad", FILES)
    hub.fault("corrupt", "org/bad", times=None)
    hub.fault("corrupt", "bad", times=None)
    wrong = {
        "gated": ({"repo": "org/gated"}, f"ask for access at {hub.endpoint}/org/gated"),
        "unknown": ({"repo": "org/modle"}, "did you mean org/model?"),
        "no revision": ({"repo": REPO, "revision": "mian"}, "did you mean main?"),
        "no space": ({"repo": "org/huge"}, "are missing"),
        "corrupt": ({"repo": "org/bad"}, "it came corrupt twice"),
    }[trouble]
    served.profile(model=wrong[0])
    assert wrong[1] in served.apply("a", code=1).stderr
    assert served.engine() == pid
    assert serves(served.port, "a")


def test_a_hub_that_is_down_must_be_said_before_anything_is_asked(served: Project, hub: Hub) -> None:
    hub.stop()
    planned = served.orch("plan", "a", code=1)
    assert f"fetch {REPO}@main" in planned.stdout
    assert "how much is not known" in planned.stdout
    assert "check the network" in planned.stderr
    applied = served.apply("a", code=1)
    assert f"cannot fetch {REPO}: there is no way to {hub.endpoint}: connection refused" in applied.stderr


def test_offline_must_mean_that_nobody_is_asked(served: Project, hub: Hub) -> None:
    served.env["HF_HUB_OFFLINE"] = "1"
    assert "HF_HUB_OFFLINE is set" in served.apply("a", code=1).stderr
    assert not hub.requests
    del served.env["HF_HUB_OFFLINE"]
    served.orch("pull", "a")
    asked = len(hub.requests)
    served.env["HF_HUB_OFFLINE"] = "1"
    served.apply("a")
    assert len(hub.requests) == asked


def test_a_refresh_that_cannot_ask_must_not_pass_for_one(served: Project, hub: Hub) -> None:
    served.apply("a")
    hub.stop()
    for verb in (("plan", "a"), ("apply", "a", "--yes")):
        assert "check the network" in served.orch(*verb, "--refresh", code=1).stderr
    assert "Nothing to change" in served.apply("a").stdout


# ------------------------------------------------------------------------------------------------------ sticky commits


def test_an_upstream_commit_must_never_restart_a_model(served: Project, hub: Hub) -> None:
    first = hub.add(REPO, FILES)
    served.apply("a")
    pid = served.engine()
    second = changed(hub)
    assert "Nothing to change" in served.plan("a")
    shutil.rmtree(served.state)
    assert "a: 1 field" not in served.plan("a")
    served.apply("a")
    assert served.engine() == pid
    plan = served.orch("plan", "a", "--refresh").stdout
    assert f'commits.model: "{first}" -> "{second}"' in plan
    served.orch("apply", "a", "--refresh", "--yes")
    assert revision(served.engine()) == second
    assert "Nothing to change" in served.plan("a")


def test_a_pull_must_settle_the_commit_for_the_apply_that_follows(served: Project, hub: Hub) -> None:
    first = hub.add(REPO, FILES)
    served.orch("pull", "a")
    changed(hub)
    served.apply("a")
    assert revision(served.engine()) == first


def test_going_back_must_serve_the_old_commit_without_the_hub(served: Project, hub: Hub) -> None:
    first = hub.add(REPO, FILES)
    served.apply("a")
    second = changed(hub)
    served.orch("pull", "a", "--refresh")
    hub.stop()
    served.profile(model={"repo": REPO, "revision": second}, args={"fake_exit_code": 3})
    assert "brought back a" in served.apply("a", code=1).stderr
    assert revision(served.engine()) == first


# --------------------------------------------------------------------------------------------------- caches of others


def client(project: Project, code: str) -> "subprocess.CompletedProcess[str]":
    """The Hub's own client, with the cache that an engine of the project has."""
    env = project.env | {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    env.pop("XDG_CACHE_HOME")
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


def test_what_the_hubs_client_fetched_must_be_served_without_the_hub(served: Project, hub: Hub) -> None:
    client(served, f"from huggingface_hub import snapshot_download; snapshot_download({REPO!r})")
    hub.stop()
    plan = served.plan("a")
    assert f"verify {REPO}@" in plan
    assert "all already here, 3.0 MB of it to be hashed once" in plan
    served.apply("a")
    assert serves(served.port, "a")
    served.orch("stop", "a")
    assert "verify" not in served.plan("a")


def test_what_orch_fetched_must_be_whole_to_the_hubs_client(served: Project, hub: Hub) -> None:
    served.orch("pull", "a")
    found = client(
        served,
        f"""if True:
        import json
        from huggingface_hub import HfApi, scan_cache_dir, snapshot_download
        cache = scan_cache_dir()
        checked = HfApi(endpoint={hub.endpoint!r}).verify_repo_checksums({REPO!r})
        print(json.dumps([[str(one) for one in cache.warnings], sorted(r.repo_id for r in cache.repos),
                          checked.checked_count, checked.mismatches]))""",
    )
    assert json.loads(found.stdout) == [[], [REPO], 2, []]


# -------------------------------------------------------------------------------------- everything that is named


def test_every_repository_that_is_named_must_be_fetched(served: Project, hub: Hub) -> None:
    tokenizer = hub.add("org/tokenizer", {"tokenizer.json": b"{}", "model.safetensors": b"n" * 2_000_000})
    draft = hub.add("org/draft", {"config.json": b"{}", "model.safetensors": b"d" * 2_000_000})
    hub.add("org/lora", {"adapter_config.json": b"{}", "adapter_model.safetensors": b"l" * 2_000_000})
    hub.add("org/code", {"modeling.py": b"class M: pass", "model.safetensors": b"n" * 2_000_000})
    custom = {"config.json": json.dumps({"auto_map": {"AutoModel": "org/code--modeling.M"}}).encode()}
    hub.add("org/custom", FILES | custom)
    args = {
        "tokenizer": "org/tokenizer",
        "speculative_config": {"model": "org/draft", "num_speculative_tokens": 3},
        "lora_modules": ["sql=org/lora"],
        "trust_remote_code": True,
    }
    served.profile(model={"repo": "org/custom"}, args=args)
    served.orch("pull", "a")
    for repo, file in {
        "org/tokenizer": "tokenizer.json",
        "org/draft": "model.safetensors",
        "org/lora": "adapter_model.safetensors",
        "org/code": "modeling.py",
    }.items():
        assert list(cache(served, repo).glob(f"snapshots/*/{file}")), repo
    assert not list(cache(served, "org/tokenizer").glob("snapshots/*/model.safetensors"))
    served.orch("apply", "a", "--dry-run")
    plan = json.loads(served.orch("plan", "a", "--output", "json").stdout)
    assert not [step for step in plan["steps"] if "weights" in step]
    assert (tokenizer, draft) == (pinned(served, "org/tokenizer"), pinned(served, "org/draft"))


def pinned(project: Project, repo: str) -> str:
    return (cache(project, repo) / "refs/main").read_text()


def test_a_gguf_model_must_be_given_as_a_file_for_offline_its_name_is_none(served: Project, hub: Hub) -> None:
    """vLLM 0.32 takes what stands before --revision for a repository: OWNER/NAME:QUANT is none."""
    commit = hub.add(
        "org/model-GGUF", {"m-Q4_K_M.gguf": b"q" * 1000, "m-Q8_0.gguf": b"Q" * 1000, "mmproj-f16.gguf": b"p"}
    )
    served.profile(model={"repo": "org/model-GGUF:Q4_K_M"})
    served.apply("a")
    words = argv(served.engine())
    assert str(cache(served, "org/model-GGUF") / "snapshots" / commit / "m-Q4_K_M.gguf") in words
    assert "--revision" not in words
    assert serves(served.port, "a")
    assert not list(cache(served, "org/model-GGUF").glob("snapshots/*/m-Q8_0.gguf"))


def test_a_plan_must_write_nothing_though_it_asks_the_hub(served: Project, hub: Hub) -> None:
    before = sorted(served.sandbox.home.rglob("*"))
    assert "3.0 MB" in served.plan("a")
    served.orch("apply", "a", "--dry-run")
    assert sorted(served.sandbox.home.rglob("*")) == before
    assert hub.requests


# ------------------------------------------------------------------------------------------------------ while it comes


def test_status_must_show_a_pull_in_another_terminal(served: Project, hub: Hub) -> None:
    commit = hub.add(REPO, FILES | {"model.safetensors": os.urandom(BIG)})
    gate = hub.gate("model.safetensors", after=1 << 20, times=None)
    pull = served.sandbox.start("pull", "a")
    assert gate.reached.wait(20)
    wait_until(lambda: f"fetching {REPO}@{commit[:8]}" in served.orch("status").stdout)
    row = served.orch("status", "--output", "json").json["pulls"][0]
    assert (row["repo"], row["commit"], row["files"]) == (REPO, commit, 2)
    assert row["total_bytes"] == BIG + len(FILES["config.json"])
    hub.faults.clear()
    hub.release()
    assert ended(pull) == 0, pull.output
    assert served.orch("status", "--output", "json").json["pulls"] == []


def test_a_token_must_open_a_gated_model_and_be_found_nowhere(served: Project, hub: Hub, fake_runtime: Path) -> None:
    secret = "hf_secretsecretsecret"
    hub.add("org/gated", FILES, gated=True, token=secret)
    served.env["MINE"] = secret
    served.sandbox.environment(fake_runtime, secrets={"HF_TOKEN": {"env": "MINE"}})
    served.profile(model={"repo": "org/gated"})
    done = served.apply("a")
    assert serves(served.port, "a")
    assert not [one for one in hub.requests if one.origin != "hub" and "authorization" in one.headers]
    assert [one for one in hub.requests if one.headers.get("authorization") == f"Bearer {secret}"]
    assert secret not in done.stdout + done.stderr
    files = [path for path in served.sandbox.home.rglob("*") if path.is_file()]
    assert not [path for path in files if secret.encode() in path.read_bytes()]
    assert secret not in " ".join(argv(served.engine()))
