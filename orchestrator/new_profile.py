"""The first profile of a model: what its name and its config say, and sensible values for the rest. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from orchestrator.errors import InputError, UsageProblem
from orchestrator.findings import did_you_mean, listed
from orchestrator.model import Json, ModelRef, Profile, Serve
from orchestrator.scaffold import Draft

VARIANTS: Mapping[str, str] = {
    "awq": "awq",
    "gptq": "gptq",
    "gguf": "gguf",
    "nvfp4": "nvfp4|fp4",
    "mxfp4": "mxfp4",
    "fp8": "fp8",
    "int8": "int8|w8a8|w8a16|8bit",
    "int4": "int4|w4a16|4bit",
    "bf16": "bf16",
    "fp16": "fp16",
}
"""How weights are stored, and by what a model's name tells it; the first one that fits."""
_DTYPES = {"bf16": "bfloat16", "fp16": "float16"}
_QWEN = {
    "awq": "-AWQ",
    "fp8": "-FP8",
    "gguf": "-GGUF",
    "gptq": "-GPTQ-Int4",
    "int4": "-GPTQ-Int4",
    "int8": "-GPTQ-Int8",
}
"""What Qwen's repositories of each variant end with."""
_GGUF = "Q4_K_M"


@dataclass(frozen=True, slots=True)
class Known:
    """What is at hand of a model: ``config`` is its config.json, None when that is not on this disk; ``config_at`` is
    where it is."""

    config: Mapping[str, Json] | None = None
    config_at: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which weights: ``args`` is what the engine has to be told besides ``model``, ``about`` are lines for the head."""

    model: ModelRef
    variant: str = ""
    args: Mapping[str, Json] = field(default_factory=dict)
    about: tuple[str, ...] = ()


def recognise(name: str) -> str:
    """The variant that a model's name tells, or ""."""
    words = name.lower()
    return next((key for key, word in VARIANTS.items() if re.search(rf"(?<![a-z0-9])(?:{word})(?![a-z])", words)), "")


def choose(model: ModelRef, variant: str | None, known: Known) -> Choice:
    """Raises UsageProblem for a variant that nobody knows, InputError for one that these weights are not."""
    if variant is not None and variant not in VARIANTS:
        do = did_you_mean(variant, VARIANTS) or f"it is one of {listed(VARIANTS, 'or')}"
        raise UsageProblem(f"use --variant {variant}", "there is no such variant", do)
    told = recognise(model.label)
    if variant is None or variant == told or (told == "gptq" and variant in ("int4", "int8")):
        return _as_named(model, told)
    if told and told not in _DTYPES:
        why = f"{model.label} is {told} by its name"
        raise InputError(f"use --variant {variant}", why, "name the repository with those weights, or leave it out")
    if variant in _DTYPES:
        about = f"Computed in {_DTYPES[variant]}, whatever its config says."
        return Choice(model, variant, {"dtype": _DTYPES[variant]}, (about,))
    if model.path:
        return _folder(model, variant, known)
    owner, _, name = (model.repo or "").partition("/")
    if owner == "Qwen" and variant in _QWEN:
        other = replace(model, repo=f"{owner}/{name}{_QWEN[variant]}")
        chosen = _as_named(other, variant)
        about = (
            f"{other.repo} is by its name what Qwen calls the {variant} weights; nobody was asked whether it is there."
        )
        return replace(chosen, about=(about, *chosen.about))
    if variant == "fp8":
        return _quantized_while_loading(model)
    why = f"the {variant} weights of {model.label} are another repository, and only the Hub knows which"
    raise InputError(f"use --variant {variant}", why, f"name that repository: orch init OWNER/NAME-{variant.upper()}")


def _as_named(model: ModelRef, variant: str) -> Choice:
    if variant == "gguf" and model.repo and ":" not in model.repo:
        about = (
            f"{_GGUF} after the colon is which of the repository's models: nobody was asked whether it has that one."
        )
        return Choice(replace(model, repo=f"{model.repo}:{_GGUF}"), variant, {}, (about,))
    return Choice(model, variant)


def _folder(model: ModelRef, variant: str, known: Known) -> Choice:
    method = quantization(known.config)
    if not method and variant == "fp8":
        return _quantized_while_loading(model)
    if known.config is not None and method and variant not in method:
        why = f"{known.config_at} says that its weights are {method}"
        raise InputError(f"use --variant {variant}", why, "leave it out")
    if known.config is not None and not method and variant != "gguf":
        why = f"{known.config_at} says nothing of it"
        raise InputError(f"use --variant {variant}", why, "name the folder with those weights, or leave it out")
    return Choice(model, variant)


def _quantized_while_loading(model: ModelRef) -> Choice:
    about = "The engine makes 8 bits of the weights while it loads them: they are fetched and read in full."
    return Choice(replace(model, quantization="fp8"), "fp8", {}, (about,))


def draft(choice: Choice, known: Known, *, name: str, environment: str, port: int, schema: str = "") -> Draft:
    model, config = choice.model, known.config
    limit = _number(config, "max_position_embeddings")
    heads = _number(config, "num_attention_heads")
    served = re.sub(r"[^a-z0-9._-]+", "-", (model.label.rstrip("/").rpartition("/")[2]).lower()).strip("-") or name
    profile = Profile(
        name=name,
        environment=environment,
        model=model if model.path else replace(model, revision="main"),
        serve=Serve(
            names=(served,),
            port=port,
            max_model_len=limit,
            gpu_memory_utilization=0.9,
            args=choice.args,
        ),
    )
    notes = {}
    if limit:
        notes["serve.max_model_len"] = "the model's own limit: prompt and answer together; less leaves more room"
    if heads:
        notes["serve.tensor_parallel_size"] = f"how many GPUs share every layer; must divide the model's {heads} heads"
    absent = {}
    if not limit:
        absent["serve"] = ("max_model_len: the model's own, as long as none is given",)
    return Draft(profile, _head(choice, known), notes, absent, schema)


def _head(choice: Choice, known: Known) -> tuple[str, ...]:
    method = quantization(known.config)
    lines = [
        f"{choice.model.label}{f', {choice.variant}' if choice.variant else ''}. Made by `orch init`, yours to change."
    ]
    lines += choice.about
    if method and not choice.model.quantization:
        lines.append(f"Its config says that the weights are {method}: the engine needs no `quantization`.")
    elif choice.variant == "gguf":
        lines.append("Engines of today serve GGUF through a package of its own: vllm-gguf-plugin.")
    elif choice.variant and choice.variant not in _DTYPES and not choice.model.quantization:
        lines.append("The engine learns from the model's own config how it is quantized: no `quantization` is needed.")
    if known.config is not None:
        lines.append(f"What is said of the model comes from {known.config_at}.")
    else:
        lines.append("Its config.json is not on this disk yet, so the values below are the usual ones.")
    return tuple(lines)


def quantization(config: Mapping[str, Json] | None) -> str:
    """What the config calls its method, or ""."""
    for key in ("quantization_config", "compression_config"):
        held = config.get(key) if config is not None else None
        if isinstance(held, Mapping) and isinstance(held.get("quant_method"), str):
            return str(held["quant_method"])
    return ""


def _number(config: Mapping[str, Json] | None, key: str) -> int | None:
    """Also of a model with pictures, whose text part has a section of its own."""
    for held in (config, config.get("text_config") if config is not None else None):
        value = held.get(key) if isinstance(held, Mapping) else None
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 31:
            return value
    return None
