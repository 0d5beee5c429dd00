"""Placement: by memory, near each other, away from others, where it was before; and why something does not fit."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest
from builders import VENV, remembered, running, seen, wanted
from golden import check
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.cards import CONTEXT, cards, without
from orchestrator.model import (
    Deployment,
    Gpu,
    GpuLink,
    GpuProcess,
    Instance,
    Inventory,
    Marker,
    Phase,
    RuntimeInfo,
    RuntimeState,
)
from orchestrator.placement import Ask, Placed, ask, asks, place

GIB = 1 << 30
CARD = 48 * GIB


def gpu(index: int, used: int = 0, **fields: Any) -> Gpu:
    return Gpu(index, f"GPU-{index}{index}", "RTX 6000 Ada Generation", CARD, 0, used, **fields)


def host(*gpus: Gpu, links: Sequence[GpuLink] = (), **fields: Any) -> Inventory:
    return Inventory(gpus or tuple(gpu(index) for index in range(4)), tuple(links), **fields)


def model(name: str, tp: int = 1, share: float = 0.9, **fields: Any) -> Deployment:
    return wanted(name, tensor_parallel_size=tp, gpu_memory_utilization=share, **fields)


def placed(
    deployments: Sequence[Deployment],
    inventory: Inventory,
    staying: Sequence[Instance] = (),
    leaving: Sequence[Instance] = (),
    before: Sequence[str] = (),
) -> Placed:
    found = [ask(one, before) for one in deployments]
    return place(found, cards(inventory, staying, leaving), inventory.links)


def indexes(answer: Placed) -> dict[str, tuple[int, ...]]:
    return {name: one.indexes for name, one in answer.placements.items()}


# ------------------------------------------------------------------------------------------------------ where it goes


def test_one_start_gets_the_first_free_card_by_its_uuid() -> None:
    answer = placed([model("a")], host())
    assert answer.placements["a"].gpus == ("GPU-00",)
    assert answer.placements["a"].needs == (int(0.9 * CARD),)


def test_the_large_one_is_placed_before_the_small_ones() -> None:
    answer = placed([model("a"), model("b"), model("big", tp=2)], host())
    assert indexes(answer) == {"big": (0, 1), "a": (2,), "b": (3,)}


def test_two_small_ones_share_a_card_and_leave_whole_ones_free() -> None:
    answer = placed([model("a", share=0.45), model("b", share=0.45), model("c", tp=3)], host())
    assert indexes(answer) == {"c": (0, 1, 2), "a": (3,), "b": (3,)}


def test_the_nearest_cards_are_taken_for_parallel_ranks() -> None:
    far = [GpuLink(a, b, "system") for a in range(4) for b in range(a + 1, 4) if (a, b) != (1, 3)]
    answer = placed([model("a", tp=2)], host(links=[*far, GpuLink(1, 3, "nvlink")]))
    assert indexes(answer) == {"a": (1, 3)}


def test_a_card_that_others_use_is_the_last_choice() -> None:
    busy = gpu(0, 2 * GIB, processes=(GpuProcess(4242, 2 * GIB, "alice", "python train.py"),))
    assert indexes(placed([model("a")], host(busy, gpu(1)))) == {"a": (1,)}
    assert indexes(placed([model("a")], host(busy))) == {"a": (0,)}


def test_a_desktop_on_a_card_does_not_count_as_its_use() -> None:
    desktop = gpu(0, 100 << 20, processes=(GpuProcess(900, 100 << 20, "root", "Xorg"),))
    assert indexes(placed([model("a")], host(desktop, gpu(1)))) == {"a": (0,)}


def test_it_goes_back_to_where_it_was() -> None:
    assert indexes(placed([model("a")], host(), before=["GPU-22"])) == {"a": (2,)}
    taken = [running(model("x"), gpus=("GPU-22",))]
    assert indexes(placed([model("a")], host(), taken, before=["GPU-22"])) == {"a": (0,)}


def test_cards_of_one_kind_are_taken_for_parallel_ranks() -> None:
    other = Gpu(0, "GPU-00", "GTX", 60 * GIB)
    assert indexes(placed([model("a", tp=2)], host(other, gpu(1), gpu(2)))) == {"a": (1, 2)}


@pytest.mark.parametrize("given", ["2", "GPU-22", "GPU-2"])
def test_pinned_cards_are_found_by_index_uuid_or_its_beginning(given: str) -> None:
    answer = placed([model("a", gpus=(given,))], host())
    assert answer.placements["a"].gpus == ("GPU-22",)
    assert answer.placements["a"].indexes == (2,)


def test_pinned_cards_keep_their_order() -> None:
    assert placed([model("a", tp=2, gpus=("3", "1"))], host()).placements["a"].gpus == ("GPU-33", "GPU-11")


def test_a_mig_device_is_taken_by_its_name() -> None:
    card = gpu(0, mig=True, parts=("MIG-a", "MIG-b"))
    answer = placed([model("a", gpus=("MIG-b",))], host(card))
    assert (answer.placements["a"].gpus, answer.placements["a"].needs) == (("MIG-b",), ())
    assert placed([model("a", tp=2, gpus=("MIG-b", "MIG-a"))], host(card)).placements["a"].gpus == ("MIG-b", "MIG-a")


def test_no_gpu_is_none_at_all() -> None:
    assert placed([model("a", gpus=0)], host()).placements["a"].gpus == ()


@pytest.mark.parametrize(
    ("args", "count"),
    [({}, 6), ({"data_parallel_size": 2}, 12), ({"data_parallel_size": 4, "data_parallel_size_local": 1}, 6)],
)
def test_auto_is_as_many_as_the_ranks_on_this_host(args: dict[str, Any], count: int) -> None:
    assert ask(wanted(tensor_parallel_size=3, pipeline_parallel_size=2, args=args)).count == count


# --------------------------------------------------------------------------------------------------- what is counted


def test_an_engine_that_still_loads_holds_what_it_will_take() -> None:
    loading = running(model("x", share=0.6), pid=50, gpus=("GPU-00",), phase=Phase.STARTING)
    card = gpu(0, GIB, processes=(GpuProcess(50, GIB),))
    (found,) = cards(host(card), [loading], [])
    assert found.room == CARD - int(0.6 * CARD)


def test_what_stops_gives_its_memory_back() -> None:
    leaving = running(model("x"), pid=50, gpus=("GPU-00",))
    card = gpu(0, 44 * GIB, processes=(GpuProcess(51, 44 * GIB),))
    assert indexes(placed([model("a")], host(card), leaving=[leaving])) == {"a": (0,)}
    assert placed([model("a")], host(card), staying=[leaving]).errors


def test_memory_of_no_process_is_our_own_where_the_driver_tells_none() -> None:
    """In a container the driver shows no process."""
    ours = running(model("x"), pid=50, gpus=("GPU-00",))
    card = gpu(0, 43 * GIB)
    assert cards(host(card), [ours], [])[0].foreign == 0
    assert indexes(placed([model("a")], host(card), leaving=[ours])) == {"a": (0,)}
    (alone,) = cards(host(card), [], [])
    assert alone.foreign == 43 * GIB
    assert [one.who for one in alone.holdings] == ["a process that cannot be seen"]


def test_a_left_over_holds_what_it_has() -> None:
    card = gpu(0, 30 * GIB, processes=(GpuProcess(51, 30 * GIB),))
    whole = running(model("x"), pid=50, gpus=("GPU-00",))
    left = Instance(whole.marker, Phase.FAILED, None, whole.children, whole.spec, gpus=whole.gpus)
    (found,) = cards(host(card), [left], [])
    assert (found.room, [one.who for one in found.holdings]) == (18 * GIB, ["what is left of x"])


def test_one_that_was_told_nothing_is_found_by_where_it_is_seen() -> None:
    old = running(model("x"), pid=50)
    card = gpu(1, 40 * GIB, processes=(GpuProcess(51, 40 * GIB),))
    assert indexes(placed([model("a")], host(gpu(0, 47 * GIB), card), leaving=[old])) == {"a": (1,)}


def test_without_takes_away_processes_and_memory() -> None:
    ours = running(model("x"), pid=50, gpus=("GPU-00",))
    other = GpuProcess(7, 2 * GIB, "bob", "python")
    found = without(host(gpu(0, 46 * GIB, processes=(GpuProcess(51, 44 * GIB), other))), [ours])
    assert (found.gpus[0].used, found.gpus[0].processes) == (2 * GIB, (other,))


# ------------------------------------------------------------------------------------------------------- why it fails


def refusals(answer: Placed) -> str:
    return "\n".join(line for error in answer.errors for line in (str(error), *error.tail))


def test_why_it_does_not_fit() -> None:
    training = GpuProcess(4242, 31 * GIB, "alice", "python train.py")
    another = GpuProcess(77, 46 * GIB, "bob", "VLLM::EngineCore", Marker("lab-9", "llama", "00001-x"))
    inventory = host(
        gpu(0, trouble="has fallen off the bus"),
        gpu(1, mig=True),
        gpu(2, 36 * GIB, processes=(training, GpuProcess(5, 5 * GIB, "bob", "python"))),
        gpu(3, 46 * GIB, processes=(another,)),
        gpu(4, mode="prohibited"),
        gpu(5, 3 * GIB, mode="exclusive", processes=(GpuProcess(6, None, "bob", "python"),)),
        gpu(6),
    )
    check("placement", "does-not-fit", refusals(placed([model("big", tp=2)], inventory)))


@pytest.mark.parametrize(
    ("deployment", "why"),
    [
        (model("a", gpus=("7",)), "there is no GPU 7 here, and this host has 4 (GPU 0 to 3)"),
        (model("a", tp=2, gpus=("1", "GPU-11")), "GPU 1 is named twice"),
        (model("a", tp=2, gpus=("1",)), "its parallel sizes need 2 GPUs and gpus gives it 1"),
        (model("a", tp=2, gpus=1), "its parallel sizes need 2 GPUs and gpus gives it 1"),
        (model("a", tp=8), "it needs 8 GPUs with 43.2 GiB free, and this host has 4 (GPU 0 to 3)"),
    ],
)
def test_what_this_host_cannot_have(deployment: Deployment, why: str) -> None:
    (error,) = placed([deployment], host()).errors
    assert error.why == why


def asked(deployment: Deployment, device: str, inventory: Inventory | None) -> tuple[list[Ask], list[str]]:
    torch = {"cuda": "2.13.0", "cpu": "2.13.0+cpu", "other": "2.13.0+rocm6.4", "": ""}[device]
    info = RuntimeInfo("k", "/opt", "/opt/bin/python", "vllm", "0.32", ("vllm",), "serve", torch=torch)
    observed = seen(runtimes={deployment.name: RuntimeState("ready", info=info)})
    found, errors = asks([deployment], type(observed)(runtimes=observed.runtimes, inventory=inventory))
    return found, [error.why for error in errors]


@pytest.mark.parametrize(
    ("device", "gpus", "inventory", "count", "why"),
    [
        ("cpu", "auto", host(), 0, []),
        ("cpu", 2, host(), None, ["its runtime computes on the processor"]),
        ("cuda", "auto", host(), 1, []),
        ("cuda", "auto", None, None, []),
        ("cuda", 1, None, None, ["it needs 1 GPU, and no NVIDIA driver can be seen on this host"]),
        ("cuda", 0, None, 0, []),
        ("cuda", 1, Inventory(why="the driver is older than its library"), None,
         ["it needs 1 GPU, and the driver is older than its library"]),
        ("other", "auto", None, None, []),
        ("other", ("0",), host(), None, []),
        ("", "auto", None, None, []),
        ("", "auto", host(), 1, []),
    ],
)  # fmt: skip
def test_whose_gpus_are_orchs_to_place(
    device: str, gpus: Any, inventory: Inventory | None, count: int | None, why: list[str]
) -> None:
    found, errors = asked(model("a", gpus=gpus, runtime=VENV), device, inventory)
    assert ([one.count for one in found], errors) == ([] if count is None else [count], why)


def test_what_is_remembered_says_where_it_was() -> None:
    wanted = model("a")
    record = remembered(wanted)
    assert record.attempt is not None
    attempt = type(record.attempt)(**{**_fields(record.attempt), "gpus": ("GPU-33",)})
    observed = seen(records=[type(record)(**{**_fields(record), "attempt": attempt})])
    (found,), _ = asks([wanted], type(observed)(records=observed.records, inventory=host()))
    assert found.before == ("GPU-33",)


def _fields(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def test_memory_of_a_pid_that_means_nothing_here_is_our_own_too() -> None:
    """In a container the driver shows the pids of the host."""
    ours = running(model("x"), pid=50, gpus=("GPU-00",))
    card = gpu(0, 43 * GIB, processes=(GpuProcess(3_999_999, 43 * GIB),))
    assert [one.who for one in cards(host(card), [ours], [])[0].holdings] == ["x"]
    assert indexes(placed([model("a")], host(card), leaving=[ours])) == {"a": (0,)}
    left = Instance(ours.marker, Phase.FAILED, None, ours.children, ours.spec, gpus=ours.gpus)
    assert indexes(placed([model("a")], host(card), leaving=[left])) == {"a": (0,)}


def test_an_engine_of_another_project_that_still_loads_holds_what_it_will_take() -> None:
    other = running(model("x"), pid=50, gpus=("GPU-00",))
    (found,) = cards(host(gpu(0, GIB, processes=(GpuProcess(50, GIB, "me", "vllm"),))), [], [], [other])
    assert found.room == CARD - int(0.9 * CARD)
    assert [one.who for one in found.holdings] == ["x of lab-1234"]


def test_an_engine_that_took_more_than_its_share_holds_that() -> None:
    ours = running(model("x", share=0.5), pid=50, gpus=("GPU-00",))
    (found,) = cards(host(gpu(0, 30 * GIB, processes=(GpuProcess(51, 30 * GIB),))), [ours])
    assert found.room == 18 * GIB


def test_a_card_that_tells_no_memory_is_taken_unreckoned() -> None:
    unified = Gpu(0, "GPU-00", "GB10", processes=(GpuProcess(7, 300 << 20, "root", "Xorg"),))
    assert placed([model("a")], host(unified)).placements["a"].needs == (0,)


def test_a_desktop_does_not_close_a_card_in_exclusive_mode() -> None:
    card = gpu(0, 100 << 20, mode="exclusive", processes=(GpuProcess(7, 100 << 20, "root", "Xorg"),))
    assert indexes(placed([model("a")], host(card))) == {"a": (0,)}


def test_what_was_somewhere_stays_there_and_the_new_goes_around_it() -> None:
    found = [ask(model("new")), ask(model("old"), ["GPU-00"])]
    assert indexes(place(found, cards(host(), ()), ())) == {"old": (0,), "new": (1,)}


def test_cards_of_two_sizes_each_give_their_share() -> None:
    small = Gpu(1, "GPU-11", "RTX 4090", 24 * GIB)
    answer = placed([model("a", tp=2)], host(gpu(0), small))
    assert answer.placements["a"].needs == (int(0.9 * CARD), int(0.9 * 24 * GIB))


@pytest.mark.parametrize(
    ("before", "expected"), [(["GPU-11", "GPU-22"], (1, 2)), (["GPU-77", "GPU-22"], (2, 3)), ([], (2, 3))]
)
def test_what_is_to_come_back_is_never_refused(before: list[str], expected: tuple[int, ...]) -> None:
    full = [
        gpu(index, (47 - index) * GIB, processes=(GpuProcess(9, (47 - index) * GIB, "bob", "x"),)) for index in range(4)
    ]
    answer = place([ask(model("a", tp=2), before)], cards(host(*full), ()), (), insist=True)
    assert (indexes(answer), answer.errors) == ({"a": expected}, ())


# --------------------------------------------------------------------------------------------------------- properties

SHARES = st.sampled_from([0.2, 0.3, 0.5, 0.6, 0.9, 1.0])
SETS = st.lists(st.tuples(st.integers(1, 3), SHARES), min_size=1, max_size=4)
USED = st.lists(st.integers(0, 48), min_size=1, max_size=4)


def chosen(sizes: Sequence[tuple[int, float]]) -> list[Deployment]:
    return [model(f"m{number}", tp, share) for number, (tp, share) in enumerate(sizes)]


@given(SETS, USED)
@settings(deadline=None)
def test_no_card_is_promised_more_than_it_has(sizes: list[tuple[int, float]], used: list[int]) -> None:
    inventory = host(*(gpu(index, size * GIB) for index, size in enumerate(used)))
    answer = placed(chosen(sizes), inventory)
    for card in inventory.gpus:
        on_it = [share for number, (_, share) in enumerate(sizes) if card.index in _at(answer, f"m{number}")]
        assert sum(int(share * CARD) for share in on_it) <= (card.free if on_it else CARD)
    for number, (count, _) in enumerate(sizes):
        assert len(_at(answer, f"m{number}")) in (0, count)
    assert len(answer.placements) + len(answer.errors) == len(sizes)


@given(SETS, USED)
@settings(deadline=None)
def test_a_set_is_refused_only_if_there_is_no_way_to_place_it(sizes: list[tuple[int, float]], used: list[int]) -> None:
    inventory = host(*(gpu(index, size * GIB) for index, size in enumerate(used)))
    assert bool(placed(chosen(sizes), inventory).errors) == (
        not _possible(sizes, [card.free for card in inventory.gpus])
    )


@given(SETS, USED, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_order_of_the_set_does_not_matter(sizes: list[tuple[int, float]], used: list[int], random: Any) -> None:
    inventory = host(*(gpu(index, size * GIB) for index, size in enumerate(used)))
    shuffled = chosen(sizes)
    random.shuffle(shuffled)
    assert indexes(placed(shuffled, inventory)) == indexes(placed(chosen(sizes), inventory))


@given(SETS, USED)
@settings(deadline=None)
def test_what_was_placed_stays_when_it_starts_again(sizes: list[tuple[int, float]], used: list[int]) -> None:
    inventory = host(*(gpu(index, size * GIB) for index, size in enumerate(used)))
    wanted = chosen(sizes)
    first = placed(wanted, inventory)
    again = [ask(one, first.placements[one.name].gpus) for one in wanted if one.name in first.placements]
    assert indexes(place(again, cards(inventory, [], []), ())) == indexes(first)


def _at(answer: Placed, name: str) -> tuple[int, ...]:
    return answer.placements[name].indexes if name in answer.placements else ()


def _possible(sizes: Sequence[tuple[int, float]], free: Sequence[int]) -> bool:
    """Every way there is, tried."""
    ways = [[mask for mask in range(1 << len(free)) if mask.bit_count() == count] for count, _ in sizes]
    for masks in product(*ways):
        if all(_carries(room, _on(index, masks, sizes)) for index, room in enumerate(free)):
            return True
    return False


def _on(index: int, masks: Sequence[int], sizes: Sequence[tuple[int, float]]) -> list[int]:
    return [int(share * CARD) for mask, (_, share) in zip(masks, sizes, strict=True) if mask >> index & 1]


def _carries(room: int, loads: Sequence[int]) -> bool:
    """A card that is shared keeps what the last to come takes before it measures."""
    shared = len(loads) > 1 or room < CARD
    return not loads or sum(loads) + (CONTEXT if shared else 0) <= room
