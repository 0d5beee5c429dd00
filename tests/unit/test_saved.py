"""A plan in a file: what comes back out of it, who may carry it out, and what makes it stale."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from builders import (
    BUILT,
    COMMIT,
    NOW,
    leftovers,
    refused,
    remembered,
    running,
    seen,
    wanted,
    weights,
)

from orchestrator import saved
from orchestrator.codec import canonical
from orchestrator.errors import InputError
from orchestrator.model import (
    Deployment,
    Gpu,
    GpuProcess,
    Intent,
    Inventory,
    Observed,
    Phase,
    Policy,
    PortHolder,
    RuntimeInfo,
    RuntimeState,
    SecretRef,
)
from orchestrator.reconcile import Options, reconcile
from orchestrator.saved import Origin, Saved

NONE = Options()
HERE = Origin("1.2.3", "lab-1234", "ada", "/home/u/lab")
FIELDS: dict[str, Any] = {"secrets": {"HF_TOKEN": "k1:aa"}, "commits": {"model": COMMIT}}
Q = wanted(max_model_len=4096, **FIELDS)
OLD = wanted(max_model_len=2048, **FIELDS)
VLLM_32, VLLM_33 = (
    RuntimeState("ready", info=RuntimeInfo("k", "/opt/vllm", "/opt/vllm/bin/python", "vllm", version, (), "serve"))
    for version in ("0.32.0", "0.33.0")
)
WORLD = seen([running(OLD)], [remembered(OLD)], {"qwen": VLLM_32}, holders=[PortHolder(8000, 4000, "vllm", "u")])


def made(
    desired: tuple[Deployment, ...] = (Q,), world: Observed = WORLD, options: Options = NONE, origin: Origin = HERE
) -> Saved:
    return saved.save(reconcile(desired, world, options), desired, world, options, origin, NOW)


def cards(*used: int, **fields: Any) -> Inventory:
    gpus = (Gpu(index, f"GPU-{index}", "Ada", 48 << 30, used=each, **fields) for index, each in enumerate(used))
    return Inventory(tuple(gpus), driver="550.54")


# ---------------------------------------------------------------------------------------------------------- the file


@pytest.mark.parametrize(
    "one",
    [
        made(),
        made((), seen()),
        made(world=seen(weights={"qwen": (weights(here=3, missing=2),)})),
        made((wanted("new", runtime=BUILT),), WORLD, Options(prune=True, replace=("qwen",), unpin=True)),
        made((replace(Q, given=("serve.port=8000",), secret_refs={"HF_TOKEN": SecretRef("env", "T")}),)),
        made((wanted(env={"A": "\udc80"}),), seen()),
    ],
    ids=["changed", "nothing", "fetch", "options", "given", "no-utf8"],
)
def test_what_is_written_is_read_back(one: Saved) -> None:
    again = saved.read(saved.write(one), HERE, "p")
    assert canonical(again) == canonical(one)
    assert again.options == one.options
    assert [each.name for each in again.desired] == [each.name for each in one.desired]


def test_the_same_plan_is_written_the_same() -> None:
    assert saved.write(made()) == saved.write(made())


def test_a_file_holds_neither_secrets_nor_the_files_texts() -> None:
    one = replace(Q, profile_text="name: qwen # do-not-keep", environment_text="do-not-keep")
    assert "do-not-keep" not in saved.write(made((one,)))


def tampered(change: Callable[[dict[str, Any]], object]) -> str:
    """A whole file, with a checksum that fits."""
    whole = json.loads(saved.write(made()))
    change(whole["content"])
    whole["sha256"] = saved._checksum(whole["content"])
    return json.dumps(whole)


GOOD = saved.write(made())
REFUSED = {
    "": "it is no plan|damaged",
    "not JSON": "damaged",
    "[]": "it is no plan",
    "{}": "it is no plan",
    '{"version": 1, "steps": []}': "it is no plan",
    "[" * 100_000: "damaged",
    GOOD[:-10]: "damaged",
    GOOD.replace("4096", "8192"): "damaged, or was changed by hand",
    GOOD.replace('"format": 1', '"format": 2'): "in another form",
    GOOD.replace('"content"', '"contents"'): "damaged",
    tampered(lambda one: one["origin"].update(orch="1.2.2")): "orch 1.2.2 made it, and this is orch 1.2.3",
    tampered(lambda one: one["origin"].update(host="other")): "it was made on other, and this is ada",
    tampered(lambda one: one["origin"].update(project="x-1", root="/x")): "it is of the project in /x",
    tampered(lambda one: one["origin"].update(declared="ci")): "it was made with `--host ci`",
    tampered(lambda one: one.update(origin="1.2.3")): "made it",
    tampered(lambda one: one.update(desired=[{"name": "qwen"}])): "damaged",
    tampered(lambda one: one.update(facts=["port"])): "damaged",
    tampered(lambda one: one.update(made="yesterday")): "damaged",
}


@pytest.mark.parametrize("text", REFUSED, ids=range(len(REFUSED)))
def test_what_may_not_be_carried_out_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=REFUSED[text]) as caught:
        saved.read(text, HERE, "p.json")
    assert caught.value.what == "carry out the plan in p.json"


# ------------------------------------------------------------------------------------------- what the files say now


def test_files_that_say_the_same_change_nothing() -> None:
    assert saved.rewritten(made(), [replace(Q, spec=replace(Q.spec, commits={}))]) == []


def test_each_field_that_the_files_say_otherwise_is_named() -> None:
    kept = made((replace(Q, file="/p/qwen.yaml"),))
    now = wanted(max_model_len=8192, port=9000, secrets={"HF_TOKEN": "k1:bb"})
    assert saved.rewritten(kept, [now]) == [
        "qwen: secrets.HF_TOKEN: another value",
        "qwen: serve.max_model_len: 4096 -> 8192",
        "qwen: serve.port: (default) -> 9000",
    ]
    (line,) = saved.rewritten(kept, [replace(Q, policy=Policy(ready_timeout=5.0))])
    assert line == "qwen: policy.ready_timeout: (default) -> 5.0"
    (line,) = saved.rewritten(kept, [replace(Q, secret_refs={"HF_TOKEN": SecretRef("env", "OTHER")})])
    assert line.startswith("qwen: secret_refs.HF_TOKEN: ")
    assert saved.rewritten(kept, []) == ["qwen: /p/qwen.yaml does not describe it any more"]
    assert saved.rewritten(kept, [Q, replace(wanted("more"), file="/p/qwen.yaml")]) == [
        "more: it was not described by /p/qwen.yaml"
    ]


def test_a_hash_under_another_key_is_no_change() -> None:
    assert saved.rewritten(made(), [wanted(max_model_len=4096, secrets={"HF_TOKEN": "k2:cc"})]) == []


def test_the_plans_commits_hold_whatever_a_revision_is_now() -> None:
    now = replace(Q, spec=replace(Q.spec, commits={}))
    assert saved.at_commits(made(), [now]) == (Q,)


# ------------------------------------------------------------------------------------------------ what is seen now


def test_the_same_world_changes_nothing() -> None:
    assert saved.moved(made(), [Q], WORLD) == []
    assert saved.replanned(made(), reconcile([Q], WORLD)) == []


MOVED = {
    "died": (replace(WORLD, instances=()), "qwen (start 00001-qwen): is gone, was ready with pid 4000"),
    "another-pid": (replace(WORLD, instances=(running(OLD, pid=7),)), "is ready with pid 7"),
    "another-start": (replace(WORLD, instances=(running(OLD, attempt="00002-q"),)), "qwen (start 00002-q): is new"),
    "unhealthy": (replace(WORLD, instances=(running(OLD, phase=Phase.UNHEALTHY),)), "is unhealthy with pid 4000"),
    "left-over": (replace(WORLD, instances=(leftovers(OLD),)), "is left-over processes 4001"),
    "stopped": (
        replace(WORLD, records={"qwen": remembered(OLD, intent=Intent.STOPPED)}),
        "is meant to be stopped, revision 1",
    ),
    "another-revision": (replace(WORLD, records={"qwen": remembered(OLD, number=2)}), "running, revision 2"),
    "rejected": (replace(WORLD, records={"qwen": remembered(OLD, rejected=(refused(Q),))}), "not to be tried again"),
    "record-lost": (replace(WORLD, records={}), "the record of qwen: is gone"),
    "port": (replace(WORLD, holders={}), "port 8000: was held by pid 4000 (vllm), is free"),
    "runtime": (replace(WORLD, runtimes={"qwen": VLLM_33}), "was vllm 0.32.0 in /opt/vllm, is vllm 0.33.0 in"),
}  # fmt: skip


@pytest.mark.parametrize("name", MOVED)
def test_what_moved_is_named(name: str) -> None:
    world, says = MOVED[name]
    assert any(says in line for line in saved.moved(made(), [Q], world))


def test_what_the_plan_does_not_depend_on_may_change() -> None:
    other = wanted("other", port=9000)
    world = replace(WORLD, instances=(*WORLD.instances, running(other, pid=7)), records=WORLD.records | {
        "other": remembered(other)
    })  # fmt: skip
    assert saved.moved(made(), [Q], world) == []
    assert saved.replanned(made(), reconcile([Q], world)) == []


def test_with_prune_whatever_would_be_pruned_now_makes_it_stale() -> None:
    prune = Options(prune=True)
    other = wanted("other", port=9000)
    world = replace(WORLD, instances=(*WORLD.instances, running(other, pid=7)))
    lines = saved.replanned(made(options=prune), reconcile([Q], world, prune))
    assert lines == ["now: stop other pid 7, draining up to 30s", "now: forget other its record and its logs"]


def test_memory_that_comes_and_goes_does_not_make_it_stale() -> None:
    one = wanted(gpus=1, gpu_memory_utilization=0.5)
    before = replace(seen(), inventory=cards(1 << 30))
    later = replace(seen(), inventory=cards(2 << 30))
    kept = made((one,), before)
    assert saved.moved(kept, [one], later) == []
    assert saved.replanned(kept, reconcile([one], later)) == []


def test_another_card_than_the_one_that_was_shown_makes_it_stale() -> None:
    one = wanted(gpus=1, gpu_memory_utilization=0.9)
    kept = made((one,), replace(seen(), inventory=cards(0, 0)))
    busy = cards(0, 0)
    taken = replace(busy.gpus[0], used=40 << 30, processes=(GpuProcess(9, 40 << 30, "mia", "python"),))
    later = replace(seen(), inventory=replace(busy, gpus=(taken, busy.gpus[1])))
    assert saved.moved(kept, [one], later) == []
    assert saved.replanned(kept, reconcile([one], later)) == [
        "no longer: start qwen Qwen/Qwen3-32B-AWQ on port 8000 and GPU 0",
        "now: start qwen Qwen/Qwen3-32B-AWQ on port 8000 and GPU 1",
    ]


@pytest.mark.parametrize(
    ("inventory", "says"),
    [
        (None, "the NVIDIA driver: was 550.54, is not there"),
        (Inventory(why="it hangs", do="restart"), "the NVIDIA driver: was 550.54, is it hangs"),
        (replace(cards(0), driver="560"), "the NVIDIA driver: was 550.54, is 560"),
        (cards(0, 0), "GPU 1: is new, Ada (GPU-1)"),
        (cards(0, trouble="has fallen off the bus"), "has fallen off the bus"),
    ],
    ids=["no-driver", "driver-hangs", "another-driver", "another-card", "trouble"],
)
def test_other_cards_make_it_stale_where_it_starts_on_one(inventory: Inventory | None, says: str) -> None:
    one = wanted(gpus=1)
    world = replace(seen(), inventory=inventory)
    assert any(says in line for line in saved.moved(made((one,), replace(seen(), inventory=cards(0))), [one], world))
    assert saved.moved(made((Q,), WORLD), [Q], replace(WORLD, inventory=inventory)) == []


def test_bytes_that_came_meanwhile_do_not_make_it_stale() -> None:
    kept = made(world=replace(WORLD, weights={"qwen": (weights(here=1, missing=9),)}))
    more = replace(WORLD, weights={"qwen": (weights(here=5_000_000_000, missing=3),)})
    assert saved.replanned(kept, reconcile([Q], more)) == []


def test_what_is_prepared_already_does_not_make_it_stale_and_more_to_prepare_does() -> None:
    """While it is carried out it is planned again between the two phases."""
    one = replace(Q, spec=replace(Q.spec, runtime=BUILT))
    todo = replace(
        WORLD,
        weights={"qwen": (weights(here=1, missing=9), weights("org/draft", slot="draft", here=0, missing=2))},
        runtimes={"qwen": RuntimeState("buildable")},
    )
    half = replace(todo, weights={"qwen": (weights(), todo.weights["qwen"][1])}, runtimes={"qwen": VLLM_32})
    done = replace(half, weights={"qwen": (weights(),)})
    kept = made((one,), todo)
    for world in (todo, half, done):
        assert saved.moved(kept, [one], world) == []
        assert saved.replanned(kept, reconcile([one], world)) == []
    gone = made((one,), done)
    lines = saved.replanned(gone, reconcile([one], todo))
    assert [line.split()[1] for line in lines] == ["build", "fetch", "fetch"]


def test_a_runtime_that_was_looked_into_meanwhile_is_the_same() -> None:
    unknown = replace(WORLD, runtimes={"qwen": RuntimeState("ready")})
    assert saved.moved(made(world=unknown), [Q], WORLD) == []
    assert saved.moved(made(), [Q], unknown) == []


def test_a_plan_that_was_carried_out_is_stale() -> None:
    done = seen([running(Q, pid=5000)], [remembered(Q, number=2)])
    assert len(saved.moved(made(), [Q], done)) >= 3
    assert "now: qwen is as it should be" in saved.replanned(made(), reconcile([Q], done))


def test_the_same_steps_for_another_reason_are_another_plan() -> None:
    kept = made()
    other = replace(kept, plan={**kept.plan, "steps": [{**one, "reason": "new"} for one in kept.plan["steps"]]})
    assert saved.replanned(other, reconcile([Q], WORLD)) == ["the same steps, in another order or for another reason"]
