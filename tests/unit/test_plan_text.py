"""What a person reads before saying yes. The texts are in golden/plans; UPDATE_GOLDEN=1 writes them anew."""

from collections.abc import Callable
from dataclasses import replace

import golden
import pytest
from builders import BUILT, COMMIT, NOW, leftovers, pinned, refused, remembered, running, seen, wanted, weights

from orchestrator.errors import OrchError
from orchestrator.model import Intent, Marker, Phase, PortHolder, RuntimeState
from orchestrator.plan import Plan, Reason
from orchestrator.reconcile import Options, reconcile, recover, take_down
from orchestrator.render import plan_json, plan_text

Q = wanted(max_model_len=40960, secrets={"HF_TOKEN": "k1:aa"}, env={"VLLM_LOGGING_LEVEL": "INFO"})
UP, KNOWN = running(Q), remembered(Q)
BASE = {"max_model_len": 40960, "secrets": {"HF_TOKEN": "k1:aa"}, "env": {"VLLM_LOGGING_LEVEL": "INFO"}}
ONE = wanted(**BASE | {"max_model_len": 32768})
A, B = wanted("alpha", port=8000), wanted("beta", port=8001, repo="meta-llama/Llama-3.1-8B-Instruct")
AT_2 = replace(Q, pinned=2, held_back=("serve.max_model_len", "policy.ready_timeout"))
OWNED = running(Q, owned=True, owner="77:1")
BOTH = seen([running(A), running(B, pid=5000)], [remembered(A), remembered(B, cost=41.5)])

PLANS: dict[str, Callable[[], Plan]] = {
    "new": lambda: reconcile([Q], seen()),
    "pinned": lambda: reconcile([AT_2], seen([UP], [pinned(KNOWN, 2)])),
    "pinned-and-died": lambda: reconcile([AT_2], seen([], [pinned(KNOWN, 2)])),
    "pin-begins": lambda: reconcile(
        [replace(ONE, pinned=1)], seen([UP], [replace(KNOWN, revision=replace(KNOWN.revision, number=2))])
    ),
    "pin-begins-as-it-runs": lambda: reconcile([replace(Q, pinned=1)], seen([UP], [KNOWN])),
    "pin-ends": lambda: reconcile([ONE], seen([UP], [pinned(KNOWN, 2)])),
    "pin-ends-as-it-runs": lambda: reconcile([Q], seen([UP], [pinned(KNOWN, 2)])),
    "unchanged": lambda: reconcile([Q], seen([UP], [KNOWN])),
    "one-field": lambda: reconcile([ONE], seen([UP], [KNOWN])),
    "many-fields": lambda: reconcile(
        [
            wanted(
                **BASE | {"max_model_len": None, "env": {}},
                repo="Qwen/Qwen3-14B",
                gpus=("0", "1"),
                tensor_parallel_size=2,
                names=("qwen3", "default"),
                args={"enforce_eager": True, "limit_mm_per_prompt": {"image": 2}},
                drain=0.0,
            )
        ],
        seen([UP], [KNOWN]),
    ),
    "secret-rotated": lambda: reconcile(
        [wanted(**BASE | {"secrets": {"HF_TOKEN": "k1:bb", "VLLM_API_KEY": "k1:cc"}})], seen([UP], [KNOWN])
    ),
    "env-changed": lambda: reconcile(
        [wanted(**BASE | {"env": {"VLLM_LOGGING_LEVEL": "DEBUG", "VLLM_USE_V2": ""}})], seen([UP], [KNOWN])
    ),
    "runtime-to-build": lambda: reconcile(
        [wanted(**BASE, runtime=BUILT)], seen([UP], [KNOWN], {"qwen": RuntimeState("buildable")})
    ),
    "fetch": lambda: reconcile(
        [Q],
        seen(weights={"qwen": (weights(here=12_100_000_000, missing=5), weights("Qwen/Qwen3-32B", slot="tokenizer"))}),
    ),
    "fetch-everything-named": lambda: reconcile(
        [ONE],
        seen(
            [UP],
            [KNOWN],
            weights={
                "qwen": (
                    weights(here=0, missing=14),
                    weights("Qwen/Qwen3-32B", total=11_400_000, here=0, files=5, missing=5, kind="no weights"),
                    weights("Qwen/Qwen3-0.6B", total=1, here=1, files=1, missing=1, left_out=0),
                    weights("Qwen/Qwen3-1.7B", unverified=19_400_000_000),
                )
            },
        ),
    ),
    "fetch-unknown": lambda: reconcile(
        [Q],
        seen(
            weights={"qwen": (weights(commit=None, total=None, why="the Hub does not answer", do="try again later"),)}
        ),
    ),
    "another-commit": lambda: reconcile(
        [wanted(**BASE, commits={"model": COMMIT})],
        seen([running(wanted(**BASE, commits={"model": "f" * 40}))], [KNOWN], weights={"qwen": (weights(),)}),
    ),
    "died": lambda: reconcile([Q], seen([], [remembered(Q, ended="its API server (pid 4000) is gone without a word")])),
    "died-with-leftovers": lambda: reconcile(
        [Q], seen([leftovers(Q, why="its API server (pid 4000) is gone without a word")], [KNOWN])
    ),
    "stopped-on-purpose": lambda: reconcile([Q], seen([], [remembered(Q, intent=Intent.STOPPED)])),
    "was-replaced": lambda: reconcile(
        [Q], seen([], [remembered(Q, intent=Intent.STOPPED, because="replaced by llama")])
    ),
    "replaced": lambda: reconcile([wanted("llama")], seen([UP], [KNOWN]), Options(replace=("qwen",))),
    "replaced-on-another-port": lambda: reconcile(
        [wanted("llama", port=9000)], seen([UP], [KNOWN]), Options(replace=("qwen",))
    ),
    "pruned": lambda: reconcile([A], BOTH, Options(prune=True)),
    "port-swap": lambda: reconcile(
        [wanted("alpha", port=8001), wanted("beta", port=8000, repo="meta-llama/Llama-3.1-8B-Instruct")], BOTH
    ),
    "policy-only": lambda: reconcile([wanted(**BASE, timeout=600.0)], seen([UP], [KNOWN])),
    "record-lost": lambda: reconcile([Q], seen([UP])),
    "became-ready-unwatched": lambda: reconcile([Q], seen([UP], [remembered(ONE)])),
    "runs-though-stopped": lambda: reconcile([Q], seen([UP], [remembered(Q, intent=Intent.STOPPED)])),
    "held-failed": lambda: reconcile([ONE], seen([UP], [remembered(Q, rejected=(refused(ONE),))])),
    "held-foreground": lambda: reconcile([Q], seen([OWNED])),
    "held-unhealthy": lambda: reconcile(
        [Q], seen([running(Q, phase=Phase.UNHEALTHY, why="connection refused")], [KNOWN])
    ),
    "waiting-for-a-starting-one": lambda: reconcile(
        [Q], seen([running(Q, phase=Phase.STARTING)], [remembered(Q, ready=False)])
    ),
    "unreadable": lambda: reconcile([Q], seen([running(Q, spec=None)], [KNOWN])),
    "two-starts-of-one": lambda: reconcile(
        [Q], seen([running(Q, attempt="00000-qwen", started_at=NOW - 900), running(Q, pid=5000)], [KNOWN])
    ),
    "restart": lambda: reconcile([Q], seen([UP], [KNOWN]), Options(restart=frozenset({"qwen"}))),
    "rollback": lambda: recover(
        "qwen", [Q], seen([running(ONE, pid=5000, phase=Phase.STARTING)], [remembered(Q, rejected=(refused(ONE),))])
    ),
    "rollback-of-a-switch": lambda: recover(
        "llama", [Q], seen([running(wanted("llama"), pid=5000, phase=Phase.STARTING)], [KNOWN])
    ),
    "rollback-by-hand": lambda: reconcile([Q], seen([running(ONE)], [KNOWN]), Options(reason=Reason.ROLLBACK)),
    "delete": lambda: take_down(["qwen"], seen([UP], [KNOWN]), forget=True),
    "stop": lambda: take_down(["qwen"], seen([UP], [KNOWN]), forget=False),
    "stop-without-drain": lambda: take_down(["beta"], seen([running(wanted("beta", drain=0.0))]), forget=False),
    "stop-of-nothing": lambda: take_down(["qwen"], seen(), forget=False),
    "stop-in-the-foreground": lambda: take_down(["qwen"], seen([OWNED]), forget=False),
    "several-at-once": lambda: reconcile(
        [
            A,
            wanted("beta", port=8001, repo="meta-llama/Llama-3.1-70B-Instruct"),
            wanted("gamma", port=8002, runtime=BUILT),
            wanted("omega", port=8003),
        ],
        seen(
            [*BOTH.instances, running(wanted("omega", port=8003), pid=6000, owned=True, owner="77:1")],
            BOTH.records.values(),
            {"gamma": RuntimeState("buildable")},
        ),
    ),
}

NEW = wanted("new")
ERRORS: dict[str, Callable[[], Plan]] = {
    "port-held-by-ours": lambda: reconcile([NEW], seen([UP], [KNOWN])),
    "gpu-held-by-ours": lambda: reconcile(
        [wanted("new", port=9000, gpus=("0",))], seen([running(wanted("old", gpus=("0", "1")))])
    ),
    "port-and-gpu-held-by-ours": lambda: reconcile(
        [wanted("new", gpus=("0",))], seen([running(wanted("old", gpus=("0", "1")))])
    ),
    "port-held-in-the-foreground": lambda: reconcile([NEW], seen([OWNED])),
    "port-held-by-a-stranger": lambda: reconcile([NEW], seen(holders=[PortHolder(8000, 999, "python3", "mia")])),
    "port-held-by-another-project": lambda: reconcile(
        [NEW], seen(holders=[PortHolder(8000, 999, "python3", "mia", Marker("web-1a2b3c4d", "chat", "00001-x"))])
    ),
    "port-held-by-the-unseen": lambda: reconcile([NEW], seen(holders=[PortHolder(8000)])),
    "port-wanted-twice": lambda: reconcile([A, wanted("beta", port=8000)], seen()),
    "runtime-missing": lambda: reconcile(
        [NEW], seen(runtimes={"new": RuntimeState("missing", "there is no Python in /opt/vllm")})
    ),
    "replaced-is-unknown": lambda: reconcile([NEW], seen(), Options(replace=("old",))),
    "replaced-in-the-foreground": lambda: reconcile([NEW], seen([OWNED], [KNOWN]), Options(replace=("qwen",))),
    "several": lambda: reconcile(
        [NEW],
        seen([UP], runtimes={"new": RuntimeState("missing", "there is no Python in /opt/vllm")}),
    ),
}


@pytest.mark.parametrize("name", PLANS)
def test_plan_text(name: str) -> None:
    golden.check("plans", name, plan_text(PLANS[name](), "lab"))


@pytest.mark.parametrize("name", ERRORS)
def test_why_there_is_no_plan(name: str) -> None:
    with pytest.raises(OrchError) as caught:
        ERRORS[name]()
    golden.check("errors", name, str(caught.value))


def test_every_text_has_its_case() -> None:
    assert golden.unused("plans", set(PLANS)) == set()
    assert golden.unused("errors", set(ERRORS)) == set()


@pytest.mark.parametrize("name", PLANS)
def test_no_text_and_no_document_shows_a_secrets_hash(name: str) -> None:
    plan = PLANS[name]()
    shown = plan_text(plan, "lab") + str(plan_json(plan, "lab"))
    assert not [value for value in ("k1:aa", "k1:bb", "k1:cc") if value in shown]
