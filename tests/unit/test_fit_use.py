"""From a deployment's spec to what decides its memory, and from a host to its cards."""

from collections.abc import Mapping
from typing import Any

import pytest
from builders import wanted

from orchestrator.engine_data import load, shipped
from orchestrator.engines.knowledge import Engine
from orchestrator.fit.cards_of import KV_SPACE, cards_of
from orchestrator.fit.model import Cards, Use
from orchestrator.fit.use import uncounted, use_of
from orchestrator.model import Gpu, GpuDeclaration, Inventory

GIB = 1 << 30


def _engine(version: str) -> Engine:
    found = load(shipped()[version])
    assert found is not None
    return found


def _use(engine: Engine | None = None, **fields: Any) -> Use:
    return use_of(wanted(**fields).spec, engine)


def test_what_is_not_said_is_the_engines_default() -> None:
    assert _use() == Use(utilization=0.92)


@pytest.mark.parametrize(("version", "share"), [("0.10.0", 0.9), ("0.19.1", 0.9), ("0.32.0", 0.92)])
def test_the_share_that_a_version_takes_by_itself(version: str, share: float) -> None:
    assert _use(_engine(version)).utilization == share


def test_fields_and_flags() -> None:
    args: Mapping[str, Any] = {
        "kv_cache_dtype": "fp8", "dtype": "float16", "block-size": 32, "max_num_seqs": "64",
        "max_num_batched_tokens": "4k", "enforce_eager": True,
    }  # fmt: skip
    found = _use(
        _engine("0.32.0"),
        tensor_parallel_size=2,
        pipeline_parallel_size=3,
        max_model_len=32768,
        gpu_memory_utilization=0.8,
        quantization="fp8",
        args=args,
    )
    assert found == Use(2, 3, 32768, 0.8, "fp8", "fp8", "float16", 32, 64, 4000, eager=True)


def test_auto_counts_as_one_card() -> None:
    assert _use(tensor_parallel_size="auto").tensor == 1


@pytest.mark.parametrize("value", ["many", -1, True, None, "auto", [8], 2.5])
def test_a_wrong_number_is_left_to_the_engine(value: object) -> None:
    assert _use(args={"max_num_seqs": value}).sequences == 0


def test_flags_that_the_sum_knows_nothing_of() -> None:
    args = {
        "cpu_offload_gb": 8, "hf_overrides.rope_scaling": {"type": "yarn"}, "data_parallel_size": 2,
        "num-gpu-blocks-override": 0, "decode_context_parallel_size": 1, "enable_lora": False, "max_num_seqs": 8,
    }  # fmt: skip
    assert uncounted(wanted(args=args).spec) == ("cpu_offload_gb", "hf_overrides", "data_parallel_size")
    assert uncounted(wanted(args={"max_model_len": "auto"}).spec) == ("max_model_len",)


@pytest.mark.parametrize(
    "args",
    [
        {"offload_group_size": 8}, {"quantization_config": {"linear": "fp8"}}, {"compilation_config": {"level": 0}},
        {"device_memory_utilization": 0.98}, {"mamba_cache_dtype": "float32"}, {"nnodes": 2},
    ],
)  # fmt: skip
def test_flags_that_change_what_there_is_room_for(args: Mapping[str, Any]) -> None:
    assert uncounted(wanted(args=args).spec) == tuple(args)
    assert uncounted(wanted(args={"offload_backend": "auto", "model_impl": "auto", "nnodes": 1}).spec) == ()


def test_a_flag_by_its_alias() -> None:
    args = {"dp": 2} if _engine("0.32.0").find("dp") else {"data-parallel-size": 2}
    assert uncounted(wanted(args=args).spec, _engine("0.32.0")) == ("data_parallel_size",)


def test_declared_cards() -> None:
    declared = GpuDeclaration("RTX 6000 Ada Generation", 4, 49140 << 20, "8.9")
    expected = Cards(
        49140 << 20, 4, "RTX 6000 Ada Generation", "8.9", how="declared", source="environments/rtx6000-ada.yaml"
    )
    assert cards_of(declared, {}, source="environments/rtx6000-ada.yaml") == expected
    assert cards_of(GpuDeclaration("H100", 8), {}) is None


def _host(*sizes: int, **fields: Any) -> Inventory:
    return Inventory(
        tuple(
            Gpu(index, f"GPU-{index}", f"Card {size}", size * GIB, capability="9.0", **fields)
            for index, size in enumerate(sizes)
        )
    )


def test_cards_that_a_driver_shows_have_what_an_engine_sees_of_them() -> None:
    found = cards_of(_host(48, 48, reserved=GIB), {})
    assert found == Cards(47 * GIB, 2, "Card 48", "9.0", how="measured", source="the driver")


@pytest.mark.parametrize(
    ("ranks", "pinned", "memory", "count"),
    [
        (1, (), 80, 1),  # the largest alone
        (2, (), 48, 3),
        (3, (), 48, 3),
        (4, (), 24, 4),
        (8, (), 24, 4),
        (1, ("0",), 24, 1),
        (2, ("1", "GPU-3"), 48, 2),
    ],
)
def test_of_cards_that_differ_the_largest_are_taken(
    ranks: int, pinned: tuple[str, ...], memory: int, count: int
) -> None:
    found = cards_of(_host(24, 80, 48, 48), {}, ranks=ranks, pinned=pinned)
    assert found is not None
    assert (found.memory // GIB, found.count) == (memory, count)


@pytest.mark.parametrize("fields", [{"trouble": "fell off the bus"}, {"mode": "prohibited"}, {"mig": True}])
def test_a_card_that_cannot_be_used_is_none(fields: dict[str, Any]) -> None:
    assert cards_of(_host(48, **fields), {}) is None


def test_a_host_without_cards() -> None:
    assert cards_of(None, {}) is None
    assert cards_of(Inventory(), {}) is None
    assert cards_of(_host(0), {}) is None  # the driver tells no memory of it


@pytest.mark.parametrize(("text", "memory"), [("4", 4 * GIB), (" 40 ", 40 * GIB)])
def test_a_processor_has_the_space_that_its_engine_is_given(text: str, memory: int) -> None:
    found = cards_of(_host(48), {KV_SPACE: text}, device="cpu")
    assert found == Cards(memory, cpu=True, source=KV_SPACE)


@pytest.mark.parametrize("text", ["", "4GB", "-1", "0"])
def test_without_such_a_space_nobody_knows(text: str) -> None:
    assert cards_of(None, {KV_SPACE: text}, device="cpu") is None
