"""What `orch history` prints. The texts are in golden/history; UPDATE_GOLDEN=1 writes them anew."""

from collections.abc import Callable
from dataclasses import replace

import golden
import pytest
from builders import COMMIT, NOW, pinned, refused, remembered, wanted

from orchestrator.codec import digest
from orchestrator.errors import InputError
from orchestrator.history_text import diff_json, diff_text, history_json, history_text, pick
from orchestrator.model import Deployment, Policy, Revision, SecretRef

SECRET = {"HF_TOKEN": "k1:aa"}
OLD = replace(
    wanted(max_model_len=4096, commits={"model": COMMIT}, secrets=SECRET),
    profile_text="name: qwen\nserve: {max_model_len: 4096}\n",
    environment_text="name: lab\n",
    secret_refs={"HF_TOKEN": SecretRef("env", "HF_TOKEN")},
)
NEW = replace(
    wanted(max_model_len=8192, commits={"model": "c" * 40}, secrets={"HF_TOKEN": "k1:bb"}),
    policy=Policy(600.0),
    secret_refs={"HF_TOKEN": SecretRef("file", "/run/token")},
)
REWORDED = replace(OLD, profile_text="# for the night\nname: qwen\nserve:\n  max_model_len: 4096\n")


def revision(number: int, of: Deployment, ago: float, **fields: object) -> Revision:
    given = {"user": "ada", "runtime": "0123456789ab", "engine": "vllm 0.32.0", "ready_seconds": 83.4} | fields
    return replace(Revision(number, digest(of.spec), of, NOW - ago), **given)


ONE, TWO = revision(1, OLD, 3 * 86_400), revision(2, NEW, 120, user="", engine="vllm 0.33.0", ready_seconds=0.0)
ON_CARDS = revision(3, NEW, 7200, gpus=("GPU-8f3c2d10-77aa", "GPU-11112222-77aa"))
KNOWN = remembered(NEW, number=2)
GIB = float(1 << 30)
MEASURED = {
    "weights": 30.52 * GIB,
    "kv_cache": 9.5 * GIB,
    "kv_cache_tokens": 77_824.0,
    "concurrency": 1.9,
    "load": 41.2,
}
RECKONED = {"weights": 30.51 * GIB, "kv_cache": 10.29 * GIB, "kv_cache_tokens": 84_288.0, "concurrency": 2.06}
TOLD = replace(TWO, measured={**MEASURED, "graphs": 0.52 * GIB}, estimate=RECKONED)
BARE = replace(TWO, measured={"weights": 30.52 * GIB})

TEXTS: dict[str, Callable[[], str]] = {
    "several": lambda: history_text("qwen", replace(KNOWN, rejected=(refused(wanted()),)), (ONE, TWO), NOW),
    "pinned": lambda: history_text("qwen", pinned(remembered(OLD), 1), (ONE, TWO), NOW),
    "cards": lambda: history_text("qwen", KNOWN, (TWO, ON_CARDS), NOW),
    "reckoned": lambda: history_text("qwen", replace(KNOWN, revision=TOLD), (ONE, TOLD), NOW),
    "told-and-not-reckoned": lambda: history_text("qwen", replace(KNOWN, revision=BARE), (BARE,), NOW),
    "never-ready": lambda: history_text("qwen", remembered(OLD, ready=False, rejected=(refused(OLD),)), (), NOW),
    "no-record": lambda: history_text("qwen", None, (ONE,), NOW),
    "diff": lambda: diff_text("qwen", ONE, TWO),
    "diff-of-text": lambda: diff_text("qwen", ONE, replace(TWO, deployment=REWORDED, engine=ONE.engine)),
    "diff-of-nothing": lambda: diff_text("qwen", ONE, replace(ONE, number=4)),
}


@pytest.mark.parametrize("name", TEXTS)
def test_history_text(name: str) -> None:
    golden.check("history", name, TEXTS[name]())


def test_every_golden_history_has_its_case() -> None:
    assert not golden.unused("history", set(TEXTS))


def test_json_tells_the_same_to_a_program() -> None:
    document = history_json("qwen", replace(KNOWN, rejected=(refused(OLD),)), (ONE, TWO))
    newest, oldest = document["revisions"]
    assert (newest["number"], newest["current"], newest["pinned"]) == (2, True, False)
    assert (oldest["at"], oldest["commits"], oldest["ready_seconds"]) == (ONE.at, {"model": COMMIT}, 83.4)
    assert [(one["digest"], one["why"]) for one in document["failed"]] == [(digest(OLD.spec), "CUDA out of memory")]


def test_no_hash_of_a_secret_is_told() -> None:
    document = diff_json("qwen", ONE, TWO)
    assert {"field": "secrets.HF_TOKEN", "change": "another value"} in document["fields"]
    assert "k1:" not in str(document)
    assert "k1:" not in diff_text("qwen", ONE, TWO)


def test_a_revision_that_is_not_kept_is_named_with_those_that_are() -> None:
    assert pick("qwen", {1: ONE, 2: TWO}, 2) is TWO
    with pytest.raises(InputError, match="cannot show revision 7 of qwen: it is not kept; kept are 1, 2"):
        pick("qwen", {1: ONE, 2: TWO}, 7)
