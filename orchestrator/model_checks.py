"""Whether the model and the host can carry what a profile asks of them, as far as the model's config.json and what an
environment declares of its host tell. Pure; what is not known is noted, and nothing is guessed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.engines.knowledge import Engine
from orchestrator.findings import Findings, listed
from orchestrator.model import GpuDeclaration, Json, Profile

STRETCHED = ("su", "longrope", "llama3", "mrope", "default")
"""Kinds of rope scaling that a model's own limit already counts in."""


@dataclass(frozen=True, slots=True)
class Subject:
    """``config`` is the model's config.json, None when it is not on this disk; ``host`` what the environment declares,
    ``env`` the variables that it sets. ``engine`` None: no version is known."""

    engine: Engine | None = None
    config: Mapping[str, Json] | None = None
    host: GpuDeclaration | None = None
    env: Mapping[str, str] = field(default_factory=dict)


def check_model(profile: Profile, subject: Subject, findings: Findings) -> None:
    if subject.engine and subject.host:
        _capability(profile, subject.engine, subject.config, subject.host, findings)
    if subject.config is None:
        findings.note(("model",), "heads and context could not be checked: the model's config.json is not here")
        return
    _heads(profile, subject.config, findings)
    if subject.env.get("VLLM_ALLOW_LONG_MAX_MODEL_LEN") != "1":
        _context(profile, subject.config, findings)


def _heads(profile: Profile, config: Mapping[str, Json], findings: Findings) -> None:
    ranks = profile.serve.tensor_parallel_size
    heads = _number(config, "num_attention_heads")
    if not isinstance(ranks, int) or ranks < 2 or not heads:
        return
    path = ("serve", "tensor_parallel_size")
    if heads % ranks:
        able = [str(one) for one in range(2, heads + 1) if heads % one == 0 and one <= 16]
        why = f"{profile.model.label} has {heads} attention heads, which {ranks} does not divide"
        findings.add(path, why, f"use {listed(able, 'or')}" if able else "use 1", code="indivisible-heads")
        return
    pairs = _number(config, "num_key_value_heads")
    if pairs and pairs % ranks and ranks % pairs:
        why = f"{profile.model.label} has {pairs} key-value heads, and neither divides {ranks} nor is divided by it"
        findings.add(path, why, f"use {pairs}", code="indivisible-heads")


def _context(profile: Profile, config: Mapping[str, Json], findings: Findings) -> None:
    wanted, most, args = profile.serve.max_model_len, _longest(config), profile.serve.args
    stretched = any(key in str(args) for key in ("rope_scaling", "rope_parameters", "max_position_embeddings"))
    if wanted and most and wanted > most and not stretched:
        why = f"{profile.model.label} reads {most} tokens at most, not {wanted}"
        do = f"use {most} or less, or stretch it by rope scaling: args: {{hf_overrides: {{rope_scaling: ...}}}}"
        findings.add(("serve", "max_model_len"), why, do, code="context-too-long")


def _longest(config: Mapping[str, Json]) -> int | None:
    """As the engine derives it: what the model was trained for, times what its rope scaling adds."""
    most = _number(config, "max_position_embeddings")
    scaling = _part(config, "rope_scaling") or _part(config, "rope_parameters")
    if not most or not isinstance(scaling, Mapping):
        return most
    factor, kind = scaling.get("factor"), scaling.get("rope_type", scaling.get("type"))
    if not isinstance(factor, int | float) or isinstance(factor, bool) or kind in STRETCHED:
        return most
    original = scaling.get("original_max_position_embeddings")
    return int((original if kind == "yarn" and isinstance(original, int) else most) * factor)


def _capability(
    profile: Profile,
    engine: Engine,
    config: Mapping[str, Json] | None,
    host: GpuDeclaration,
    findings: Findings,
) -> None:
    method = profile.model.quantization or _method(config)
    has = _tens(host.compute_capability)
    least = engine.quantization.get(method) if method else None
    if has is not None and least is not None and has < least:
        path = ("model", "quantization") if profile.model.quantization else ("model",)
        card = f"{host.model or 'the host'} has {host.compute_capability}"
        why = f"{method} needs a GPU of compute capability {least // 10}.{least % 10}, and {card}"
        findings.add(path, why, "choose another variant of the model", code="capability")


def _method(config: Mapping[str, Json] | None) -> str | None:
    held = _part(config or {}, "quantization_config")
    method = held.get("quant_method") if isinstance(held, Mapping) else None
    return method if isinstance(method, str) else None


def _tens(capability: str) -> int | None:
    major, _, minor = capability.partition(".")
    return int(major) * 10 + int(minor or 0) if major.isdigit() and (minor or "0").isdigit() else None


def _part(config: Mapping[str, Any], key: str) -> Json:
    """Of the model itself, or of the part of it that reads text."""
    inner = config.get("text_config")
    return config.get(key, inner.get(key) if isinstance(inner, Mapping) else None)


def _number(config: Mapping[str, Json], key: str) -> int | None:
    value = _part(config, key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
