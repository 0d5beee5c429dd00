"""Whether the model and the host can carry what a profile asks of them, as far as the model's config.json and what an
environment declares of its host tell. Pure; what is not known is noted, and nothing is guessed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from orchestrator.engines.knowledge import Engine
from orchestrator.findings import Findings, listed
from orchestrator.model import GpuDeclaration, Json, Profile, RuntimeSpec, Spec

if TYPE_CHECKING:
    from orchestrator.fit.model import Architecture, Cards, Fit, Weights

WIDEST = 16
"""No tensor parallel size larger than this is proposed."""


@dataclass(frozen=True, slots=True)
class Subject:
    """``config`` is the model's config.json, None when it is not on this disk; ``host`` what the environment declares,
    ``env`` the variables that it sets. ``engine`` None: no version is known. ``spec``: the profile as it is resolved;
    ``cards`` are those of the host, None where it declares none that has a size."""

    engine: Engine | None = None
    config: Mapping[str, Json] | None = None
    host: GpuDeclaration | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    spec: Spec | None = None
    cards: "Cards | None" = None


def check_model(profile: Profile, subject: Subject, findings: Findings) -> None:
    if subject.engine and subject.host:
        _capability(profile, subject.engine, subject.config, subject.host, findings)
    if subject.config is None:
        findings.note(("model",), "heads and context could not be checked: the model's config.json is not here")
        return
    from orchestrator.fit.config import context
    from orchestrator.fit.description import Description
    from orchestrator.fit.known import model_of

    shape, weights = model_of(Description("", texts={"config.json": subject.config}))
    spec = subject.spec or Spec(profile.model, profile.serve, RuntimeSpec("self"), profile.gpus)
    if {**subject.env, **spec.env}.get("VLLM_ALLOW_LONG_MAX_MODEL_LEN") != "1":
        _context(profile, context(shape), findings)
    if _divides(profile, spec, subject, shape, findings) and subject.cards:
        _fits(profile, spec, subject.engine, fitted(shape, weights, spec, subject.cards, subject.engine), findings)


def _divides(profile: Profile, spec: Spec, subject: Subject, shape: "Architecture", findings: Findings) -> bool:
    """Whether the engine takes the model so divided."""
    from orchestrator.fit.division import refusals
    from orchestrator.fit.families import FAMILIES
    from orchestrator.fit.use import uncounted, use_of

    use = use_of(spec, subject.engine)
    if not (why := next(refusals(shape, use), "")):
        return True
    layers = why.endswith("stages")
    path = ("serve", "pipeline_parallel_size" if layers else "tensor_parallel_size")
    able = [str(size) for size in range(2, WIDEST + 1) if not any(refusals(shape, replace(use, tensor=size)))]
    do = f"use {listed(able, 'or')}" if able else "use 1"
    do = f"use {shape.layers} or fewer" if layers else do
    code = "indivisible-heads" if "heads" in why else "indivisible-model"
    # Attention heads are counted before a model is made; how the rest is divided is each model's own matter.
    sure = "attention heads" in why or shape.model_type in FAMILIES
    if sure and not uncounted(spec, subject.engine):
        findings.add(path, f"{profile.model.label}: {why}", do, code=code)
    else:
        findings.warn(path, f"may be no way to divide {profile.model.label}: {why}", do, code=code)
    return False


def fitted(shape: "Architecture", weights: "Weights", spec: Spec, cards: "Cards", engine: Engine | None) -> "Fit":
    """With the number of cards that orch would choose, where that is left to it."""
    from orchestrator.fit.advice import fit, smallest
    from orchestrator.fit.use import use_of

    use = use_of(spec, engine)
    if spec.serve.tensor_parallel_size == "auto":
        least = smallest(shape, weights, cards, use, lambda _: None)
        use = replace(use, tensor=least.tensor if least else max(1, cards.count // use.pipeline))
    return fit(shape, weights, cards, use)


def _fits(profile: Profile, spec: Spec, engine: Engine | None, answer: "Fit", findings: Findings) -> None:
    from orchestrator.fit.preflight import WAY_OUT, objection
    from orchestrator.fit.use import uncounted

    one = objection(answer, uncounted(spec, engine))
    way_out = "" if spec.serve.tensor_parallel_size == "auto" else f"; {WAY_OUT}"  # no number, no start
    if one and one.certain and profile.fit == "refuse":
        findings.add(one.path, f"{profile.model.label}: {one.why}", f"{one.do}{way_out}", code=one.code)
    elif one:
        findings.warn(one.path, f"of {profile.model.label}: {one.told}", one.do, code=one.code)


def _context(profile: Profile, most: int, findings: Findings) -> None:
    wanted, args = profile.serve.max_model_len, profile.serve.args
    stretched = any(key in str(args) for key in ("rope_scaling", "rope_parameters", "max_position_embeddings"))
    if wanted and most and wanted > most and not stretched:
        why = f"{profile.model.label} reads {most} tokens at most, not {wanted}"
        do = f"use {most} or less, or stretch it by rope scaling: args: {{hf_overrides: {{rope_scaling: ...}}}}"
        findings.add(("serve", "max_model_len"), why, do, code="context-too-long")


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
