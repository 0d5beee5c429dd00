"""Whether a version of the engine takes what a profile gives it: what else would show only as it starts. Pure."""

import json
from collections.abc import Callable, Mapping, Sequence

from orchestrator.engines.changes import history
from orchestrator.engines.knowledge import Engine, Flag
from orchestrator.engines.values import check_value
from orchestrator.engines.versions import order
from orchestrator.engines.vllm import flag_name
from orchestrator.findings import Findings, did_you_mean, listed
from orchestrator.model import Json, Path, Profile

FIELDS: Mapping[str, Path] = {
    "quantization": ("model", "quantization"),
    "revision": ("model", "revision"),
    "tensor_parallel_size": ("serve", "tensor_parallel_size"),
    "pipeline_parallel_size": ("serve", "pipeline_parallel_size"),
    "max_model_len": ("serve", "max_model_len"),
    "gpu_memory_utilization": ("serve", "gpu_memory_utilization"),
}
"""The flags that a field of the profile stands for, with where that is written."""


COMPANIONS = {
    "enable_auto_tool_choice": "tool_call_parser",
    "enable_log_outputs": "enable_log_requests",
}
"""Flags that mean nothing alone, and that the engine refuses so."""


def check_flags(profile: Profile, engine: Engine, others: Callable[[], Sequence[Engine]], findings: Findings) -> None:
    """``others`` answers every version that is known, when a flag is not."""
    _fields(profile, engine, findings)
    _args(profile, engine, others, findings)


def _fields(profile: Profile, engine: Engine, findings: Findings) -> None:
    given = {**_values(profile), "shutdown_timeout": int(profile.drain) if profile.drain >= 1 else None}
    for name, value in given.items():
        flag, path = engine.find(name), FIELDS.get(name, ("drain",))
        if value is None or value == "auto":
            continue
        if flag is None:
            if name != "shutdown_timeout":
                findings.add(path, f"vllm {engine.version} has no flag for it", "remove it", code="unknown-flag")
        elif why := check_value(flag, value):
            _wrong(path, flag, why, engine, findings)


def given(profile: Profile) -> tuple[str, ...]:
    """The flags that a profile uses, as the engine writes them."""
    fields = [name for name, value in _values(profile).items() if value is not None]
    names = [*fields, *(name.partition(".")[0] for name in profile.serve.args)]
    return tuple(dict.fromkeys(name.replace("_", "-") for name in names))


def _values(profile: Profile) -> dict[str, Json]:
    serve, model = profile.serve, profile.model
    return {
        "quantization": model.quantization,
        "revision": model.revision,
        "tensor_parallel_size": _unless_one(serve.tensor_parallel_size),
        "pipeline_parallel_size": _unless_one(serve.pipeline_parallel_size),
        "max_model_len": serve.max_model_len,
        "gpu_memory_utilization": serve.gpu_memory_utilization,
    }


def _unless_one(size: Json) -> Json:
    """One is what the engine does by itself, and is not told it."""
    return None if size == 1 else size


def _args(profile: Profile, engine: Engine, others: Callable[[], Sequence[Engine]], findings: Findings) -> None:
    written = {
        flag_name(str(path[2])): path
        for path in profile.source.positions
        if path[:2] == ("serve", "args") and len(path) == 3
    }
    for name, value in profile.serve.args.items():
        path = written.get(name, ("serve", "args", name))
        flag, whole = engine.find(name), engine.find(name.partition(".")[0])
        if flag is None or whole is None:
            _unknown(name, path, engine, others, findings)
            continue
        if _is_short(name, whole):
            short = f"it is the short form of {_key(whole)}, which orch does not write"
            findings.add(path, short, f"write {_key(whole)}", code="short-flag")
            continue
        if flag.deprecated:
            until = f", and goes in {flag.removed_in}" if flag.removed_in else ""
            findings.warn(
                path, f"is deprecated in vllm {engine.version}{until}", _instead(flag), code="deprecated-flag"
            )
        if why := _refusal(flag, value):
            _wrong(path, flag, why, engine, findings)
    _companions(profile, engine, written, findings)


def _refusal(flag: Flag, value: Json) -> str | None:
    """Of the value as `vllm.flags` writes it for a version that is known."""
    if isinstance(value, list) and flag.type == "json":
        return check_value(flag, json.dumps(value))
    if isinstance(value, list) and flag.repeats:
        return next((why for one in value if (why := check_value(flag, one))), None)
    return check_value(flag, value)


def _is_short(name: str, flag: Flag) -> bool:
    """Whether the engine knows it with one dash only (-tp): with two it would be the beginning of something else."""
    head = name.partition(".")[0].replace("_", "-")
    return f"-{head}" in flag.options and f"--{head}" not in (*flag.options, *flag.negations)


def _companions(profile: Profile, engine: Engine, written: Mapping[str, Path], findings: Findings) -> None:
    """What the engine checks right after its parser has taken everything."""
    args = profile.serve.args
    for name, needed in COMPANIONS.items():
        if args.get(name) and not args.get(needed) and engine.find(name) and engine.find(needed):
            path = written.get(name, ("serve", "args", name))
            findings.add(path, f"vllm takes it only together with {needed}", f"add {needed}", code="flag-value")


def _unknown(name: str, path: Path, engine: Engine, others: Callable[[], Sequence[Engine]], findings: Findings) -> None:
    if whole := engine.abbreviated(name):
        findings.warn(path, f"is short for {_key(whole)}", "write it out", code="short-flag")
        return
    why = f"vllm {engine.version} has no flag --{name.replace('_', '-')}"
    all_known = others()
    past = history(name, [*(one for one in all_known if _after(engine.version, one.version)), engine])
    future = history(name, [engine, *(one for one in all_known if _after(one.version, engine.version))])
    if past:
        why += f": it was removed in {past.removed}"
        findings.add(path, why, _instead(past.last) or "remove it", code="removed-flag")
    elif future:
        why += f": it was added in {future.added}"
        findings.add(path, why, f"remove it, or use vllm {future.added} or newer", code="newer-flag")
    else:
        close = did_you_mean(name.replace("_", "-"), engine.names()).replace("-", "_")
        findings.add(path, why, close or "see `orch engine flags`", code="unknown-flag")


def _after(one: str, other: str) -> bool:
    return order(one) > order(other)


def _instead(flag: Flag) -> str:
    return f"use {listed([_key_of(name) for name in flag.instead], 'or')}" if flag.instead else ""


def _key(flag: Flag) -> str:
    return _key_of(flag.name)


def _key_of(name: str) -> str:
    return name.lstrip("-").replace("-", "_")


def _wrong(path: Path, flag: Flag, why: str, engine: Engine, findings: Findings) -> None:
    """A choice that a plugin may add is no error, for the plugin may be there."""
    text, _, close = why.partition(": did you mean ")
    hint = f"did you mean {close}" if close else f"see `orch engine flags {_key(flag)}`"
    if flag.open == "plugin" and text.startswith("cannot be "):
        what = f"knows no {text.removeprefix('cannot be ').partition(':')[0]} in vllm {engine.version} without a plugin"
        findings.warn(path, what, hint, code="flag-choice")
    else:
        findings.add(path, f"in vllm {engine.version} it {text}", hint, code="flag-value")
