"""What the scenarios of `orch models` share: a model on the Hub, and looks at the cache from outside."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from deploy_kit import ended
from fakes.hub import Hub
from fakes.sandbox import Background, Sandbox, wait_until

from orchestrator.hub.parts import fetched

REPO, COPY = "org/model", "org/copy"
BIG = os.urandom(20 << 20)
FILES = {
    "config.json": b"{}",
    "model.safetensors": os.urandom(3 << 20),
    "tokenizer.json": b"{}" * 2000,
    "README.md": b"# hello",
}
NEXT = FILES | {"model.safetensors": os.urandom(3 << 20)}
WANTED = sorted(set(FILES) - {"README.md"})
SIZE = sum(len(FILES[path]) for path in WANTED)


def orch(home: Sandbox, *args: str, code: int = 0) -> str:
    """What it says to who asked."""
    done = home.orch(*args)
    assert done.code == code, f"orch {' '.join(args)} ended with {done.code}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stdout if code == 0 else done.stderr


def rows(home: Sandbox) -> dict[str, dict[str, Any]]:
    """By what names it: REPO@COMMIT, or the folder's name."""
    found = json.loads(orch(home, "models", "--output", "json"))["models"]
    return {
        f"{one['repo']}@{one['commit']}" if one["kind"] == "cache" else Path(one["place"]).name: one for one in found
    }


def repo_folder(home: Sandbox, repo: str = REPO) -> Path:
    return home.home / "hf/hub" / f"models--{repo.replace('/', '--')}"


def held(home: Sandbox, commit: str, repo: str = REPO) -> dict[str, bytes]:
    """The files of a snapshot."""
    top = repo_folder(home, repo) / "snapshots" / commit
    return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}


def taken(top: Path) -> int:
    """Bytes on disk, each content once, links not followed."""
    states = [path.stat() for path in top.rglob("*") if path.is_file() and not path.is_symlink()]
    return sum({state.st_ino: state.st_blocks * 512 for state in states}.values())


def client(home: Sandbox, code: str) -> Any:
    """What the Hub's own client has as ``answer`` after this code."""
    script = f"from huggingface_hub import *\nimport json\n{code}\nprint(json.dumps(answer))"
    env = home.env | {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


SCAN = "found = scan_cache_dir()\nanswer = [[str(w) for w in found.warnings], sorted(r.repo_id for r in found.repos)]"


def verified_by_the_client(home: Sandbox, commit: str, repo: str = REPO) -> int:
    """How many files it finds, offline first, and then right."""
    return int(
        client(
            home,
            f"""if True:
            top = snapshot_download({repo!r}, revision={commit!r}, local_files_only=True)
            checked = HfApi().verify_repo_checksums({repo!r}, revision={commit!r})
            assert not checked.mismatches, checked
            answer = checked.checked_count""",
        )
    )


def pulling(home: Sandbox, hub: Hub) -> Background:
    """A pull that has come a part of the way, and then crawls."""
    hub.rate = 4e6
    pull = home.start("pull", REPO)
    wait_until(lambda: any(fetched(path.with_suffix(""), len(BIG)) for path in repo_folder(home).glob("blobs/*.map")))
    hub.rate = 1e4
    return pull


def kill_a_pull(home: Sandbox, hub: Hub) -> str:
    """Answers the commit of which a part is here."""
    commit = hub.add(REPO, FILES | {"model.safetensors": BIG})
    pull = pulling(home, hub)
    pull.process.send_signal(signal.SIGKILL)
    ended(pull)
    hub.rate = None
    wait_until(lambda: rows(home)[f"{REPO}@{commit}"]["state"] != "being fetched")
    return commit
