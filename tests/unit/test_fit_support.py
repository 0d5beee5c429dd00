"""What a compute capability runs natively, unpacked, or not at all."""

from typing import Any

import pytest
from fit_kit import tiny

from orchestrator.engine_data import load, shipped
from orchestrator.engines.knowledge import Engine
from orchestrator.fit.config import architecture
from orchestrator.fit.model import Cards
from orchestrator.fit.support import Support, support

NATIVE, UNPACKED, NEVER, UNKNOWN = (True, True), (True, False), (False, False), (None, None)


def _scheme(method: str, **more: Any) -> dict[str, Any]:
    return tiny(quantization_config={"quant_method": method, "bits": 4, **more})


def _groups(bits: int, kind: str) -> dict[str, Any]:
    weights = {"num_bits": bits, "type": kind, "strategy": "channel", "symmetric": True}
    return tiny(
        quantization_config={"quant_method": "compressed-tensors", "config_groups": {"0": {"weights": weights}}}
    )


def _support(config: dict[str, Any], capability: str, version: str = "") -> Support:
    engine: Engine | None = load(shipped()[version]) if version else None
    return support(architecture(config), Cards(48 << 30, capability=capability), engine)


def _both(found: Support) -> tuple[bool | None, bool | None]:
    return found.runs, found.native


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("fp8", {"10.0": NATIVE, "9.0": NATIVE, "8.9": NATIVE, "8.6": UNPACKED, "8.0": UNPACKED, "7.5": NEVER}),
        ("awq", {"8.9": NATIVE, "8.0": NATIVE, "7.5": UNPACKED, "7.0": NEVER}),
        ("gptq", {"8.0": NATIVE, "7.0": UNPACKED, "6.0": UNPACKED, "5.2": NEVER}),
        ("mxfp4", {"12.0": NATIVE, "10.0": NATIVE, "9.0": UNPACKED, "8.0": UNPACKED, "7.5": NEVER}),
        ("modelopt_fp4", {"10.0": NATIVE, "9.0": UNPACKED, "7.5": NEVER}),
    ],
)
def test_by_capability(method: str, expected: dict[str, tuple[bool, bool]]) -> None:
    assert {one: _both(_support(_scheme(method), one)) for one in expected} == expected


def test_plain_weights_run_anywhere_and_bfloat16_natively_from_ampere_on() -> None:
    assert _both(_support(tiny(), "8.0")) == NATIVE
    assert _both(_support(tiny(), "7.5")) == UNPACKED
    assert "float16 instead" in _support(tiny(), "7.5").why
    assert _both(_support(tiny(torch_dtype="float16"), "7.5")) == NATIVE


def test_the_versions_own_table_has_the_last_word() -> None:
    assert _both(_support(_scheme("fp8"), "7.5", "0.10.0")) == NEVER  # 8.0 there
    assert _both(_support(_scheme("fp8"), "7.5", "0.32.0")) == UNPACKED  # 7.5 there
    assert _support(_scheme("fp8"), "7.5", "0.10.0").why == "fp8 needs capability 8.0, by vllm 0.10.0"


def test_a_form_that_a_version_does_not_know() -> None:
    assert _both(_support(_scheme("bitsandbytes"), "8.9", "0.19.1")) == NATIVE
    found = _support(_scheme("bitsandbytes"), "8.9", "0.32.0")
    assert found == Support(False, False, "vllm 0.32.0 knows no bitsandbytes without a plugin")


def test_a_format_of_many_is_told_by_what_it_holds() -> None:
    assert _both(_support(_groups(8, "float"), "8.0")) == UNPACKED
    assert _both(_support(_groups(8, "int"), "8.0")) == NATIVE
    assert _both(_support(_groups(4, "int"), "8.0", "0.32.0")) == NATIVE
    assert _both(_support(_groups(4, "int"), "7.5", "0.32.0")) == NEVER
    assert _both(_support(_groups(8, "float"), "7.5", "0.32.0")) == NEVER


def test_a_form_that_nobody_knows_and_a_card_of_unknown_capability() -> None:
    assert _both(_support(_scheme("sorcery"), "8.9")) == UNKNOWN
    assert _both(_support(_scheme("sorcery"), "8.9", "0.32.0")) == NEVER
    assert _both(_support(_scheme("fp8"), "")) == UNKNOWN


def test_a_processor() -> None:
    cpu = Cards(1 << 30, cpu=True)
    assert support(architecture(_scheme("fp8")), cpu).runs is False
    assert support(architecture(_scheme("awq")), cpu).runs is True
    assert support(architecture(_scheme("mxfp4")), cpu).runs is None
    assert support(architecture(tiny()), cpu).runs is True
