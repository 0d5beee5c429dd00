"""Whether a card computes in the form that a checkpoint's weights have, by its compute capability. Pure.

What runs at all is the engine's to say, and its version's own table has the last word. What runs natively is a matter
of the card's arithmetic units, or of the kernels made for the form: elsewhere weights are unpacked to 16 bits.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.engines.knowledge import Engine
from orchestrator.fit.fields import part, word
from orchestrator.fit.model import Architecture, Cards


@dataclass(frozen=True, slots=True)
class Support:
    """``runs`` None: that is not known. ``why`` says who says so, and of what does not run natively, how it runs."""

    runs: bool | None
    native: bool | None = None
    why: str = ""


UNKNOWN = Support(None)


@dataclass(frozen=True, slots=True)
class _Form:
    """Capabilities from which it is ``native``, and from which it runs at all: ``least`` is what vLLM has asked for
    since 0.10, for an engine of which nothing is known. ``names`` are the engine's for it."""

    native: str
    least: str
    source: str
    names: tuple[str, ...] = ()


_MARLIN = "Marlin's kernels, which keep the weights packed, need 8.0"
_FP8 = "tensor cores take FP8 from 8.9 on (NVIDIA's CUDA guide); below, Marlin unpacks the weights to 16 bits"
_FP4 = "tensor cores take FP4 from 10.0 on (NVIDIA's CUDA guide); below, Marlin unpacks the weights to 16 bits"
_FORMS: Mapping[str, _Form] = {
    "bfloat16": _Form("8.0", "", "tensor cores take bfloat16 from 8.0 on; below, the engine takes float16 instead"),
    "fp8": _Form("8.9", "8.0", _FP8, ("fp8",)),
    "fbgemm-fp8": _Form("8.9", "8.0", _FP8, ("fbgemm_fp8",)),
    "modelopt": _Form("8.9", "8.9", _FP8, ("modelopt",)),
    "awq": _Form("8.0", "7.5", f"{_MARLIN}; below, AWQ's own are slower", ("awq", "auto_awq")),
    "gptq": _Form("8.0", "6.0", f"{_MARLIN}; below, GPTQ's own are slower", ("gptq", "auto_gptq")),
    "auto-round": _Form("8.0", "6.0", _MARLIN, ("inc", "auto-round")),
    "mxfp4": _Form("10.0", "8.0", _FP4, ("mxfp4", "gpt_oss_mxfp4")),
    "nvfp4": _Form("10.0", "8.0", _FP4, ("modelopt_fp4", "compressed-tensors")),
    "modelopt-fp4": _Form("10.0", "8.0", _FP4, ("modelopt_fp4",)),
    "bitsandbytes": _Form("7.0", "7.0", "vLLM's table of quantizations", ("bitsandbytes",)),
    "gguf": _Form("6.0", "6.0", "vLLM's table of quantizations", ("gguf",)),
    "int8": _Form("7.5", "7.5", "tensor cores take INT8 from 7.5 on", ("compressed-tensors",)),
    "int4": _Form("8.0", "8.0", _MARLIN, ("compressed-tensors",)),
    "float8": _Form("8.9", "8.0", _FP8, ("compressed-tensors",)),
}
"""compressed-tensors is a format of many: what it holds here has a name of its own."""
_ON_CPU: Mapping[str, bool] = {
    "fp8": False, "fbgemm-fp8": False, "float8": False, "modelopt": False, "modelopt-fp4": False, "nvfp4": False,
    "awq": True, "gptq": True, "int8": True, "bfloat16": True,
}  # fmt: skip
"""As vLLM's build for plain processors has kernels."""


def support(found: Architecture, cards: Cards, engine: Engine | None = None) -> Support:
    """``engine`` is the version that would serve it, if that is known."""
    name = form_of(found)
    if name is None:
        return Support(True, True)
    if cards.cpu:
        runs = _ON_CPU.get(name)
        return Support(runs, runs, f"the engine's build for processors has no kernels for {name}" if not runs else "")
    form = _FORMS.get(name)
    least, source = _least(name, form, engine)
    if least is None:
        return Support(False, False, source)
    if not cards.capability or form is None:
        return UNKNOWN
    has = tens(cards.capability)
    if has < least:
        return Support(False, False, f"{name} needs capability {least // 10}.{least % 10}, by {source}")
    native = has >= tens(form.native)
    return Support(True, native, "" if native else form.source)


def form_of(found: Architecture) -> str | None:
    """The form of the weights, by a name of `_FORMS` where there is one; None for plain ones that run anywhere."""
    scheme = found.quantization
    if scheme is None:
        return "bfloat16" if found.dtype == "bfloat16" else None
    if scheme.method != "compressed-tensors":
        return scheme.method.replace("_", "-")
    groups = part(part(found.raw, "quantization_config", "compression_config"), "config_groups")
    kinds = {word(part(one, "weights"), "type") for one in groups.values() if isinstance(one, Mapping)}
    if scheme.bits == 8:
        return "float8" if "float" in kinds else "int8" if "int" in kinds else scheme.method
    return "int4" if scheme.bits == 4 else scheme.method


def _least(name: str, form: _Form | None, engine: Engine | None) -> tuple[int | None, str]:
    """Times ten, and who says so; None where the engine does not know the form at all."""
    default = tens(form.least) if form and form.least else 0
    names = form.names if form else (name, name.replace("-", "_"))
    if engine is None or not engine.quantization or not names:
        return default, "what vLLM has asked for since 0.10"
    told = [engine.quantization[one] for one in names if one in engine.quantization]
    if not told:
        return None, f"vllm {engine.version} knows no {name} without a plugin"
    known = [one for one in told if one is not None]
    floor = max(0, min(known)) if known else default
    # A format of many asks for what its easiest kind does.
    return max(floor, default) if names[-1] == "compressed-tensors" else floor, f"vllm {engine.version}"


def tens(capability: str) -> int:
    """89 of 8.9; 0 of what is no capability."""
    major, _, minor = capability.partition(".")
    return int(major) * 10 + int(minor or 0) if major.isdigit() and (minor or "0").isdigit() else 0
