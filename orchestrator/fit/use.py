"""How a spec starts its engine, as far as that decides what it takes of the cards. Pure."""

from collections.abc import Mapping

from orchestrator.engines import vllm
from orchestrator.engines.knowledge import Engine
from orchestrator.engines.values import human_int
from orchestrator.fit.model import Use
from orchestrator.model import Json, Spec

_UNCOUNTED = (
    "cpu_offload_gb", "offload_backend", "offload_group_size", "kv_cache_memory_bytes", "num_gpu_blocks_override",
    "hf_overrides", "rope_scaling", "data_parallel_size", "decode_context_parallel_size",
    "prefill_context_parallel_size", "limit_mm_per_prompt", "language_model_only", "disable_sliding_window",
    "disable_hybrid_kv_cache_manager", "speculative_config", "enable_lora", "enable_expert_parallel", "config",
    "gpu_memory_utilization", "device_memory_utilization", "quantization_config", "kv_cache_dtype_skip_layers",
    "mamba_cache_dtype", "mamba_ssm_cache_dtype", "mamba_cache_mode", "mamba_block_size", "compilation_config",
    "cudagraph_capture_sizes", "max_cudagraph_capture_size", "optimization_level", "hf_config_path", "config_format",
    "model_class_overrides", "model_impl", "worker_cls", "nnodes",
)  # fmt: skip
_IDLE = (None, False, 0, "", "0")
"""Values with which such a flag changes nothing; 1 does not either, where it counts copies."""


def use_of(spec: Spec, engine: Engine | None = None) -> Use:
    """``engine`` is what its version is known to take: the share of the memory that it takes by itself depends on it.
    A parallel size of ``auto`` counts as 1 until it is chosen."""
    serve, args = spec.serve, _args(spec, engine)
    tensor = serve.tensor_parallel_size
    return Use(
        tensor=tensor if isinstance(tensor, int) else 1,
        pipeline=serve.pipeline_parallel_size,
        max_model_len=serve.max_model_len or _whole(args.get("max_model_len")),
        utilization=serve.gpu_memory_utilization or _share(engine),
        kv_cache_dtype=_word(args.get("kv_cache_dtype"), "auto"),
        quantization=spec.model.quantization or "",
        dtype=_word(args.get("dtype"), "auto"),
        block=_whole(args.get("block_size")),
        sequences=_whole(args.get("max_num_seqs")),
        batched_tokens=_whole(args.get("max_num_batched_tokens")),
        eager=args.get("enforce_eager") is True,
    )


def uncounted(spec: Spec, engine: Engine | None = None) -> tuple[str, ...]:
    """The flags of a spec that change what the engine takes, or has, and that the arithmetic knows nothing of: with
    one of these, that something does not fit is a guess."""
    args = {name.partition(".")[0]: value for name, value in _args(spec, engine).items()}
    found = [name for name in _UNCOUNTED if args.get(name) not in _idle(name)]
    if args.get("max_model_len") in ("auto", -1, "-1"):
        found.append("max_model_len")
    return tuple(found)


def _idle(name: str) -> tuple[Json, ...]:
    if name in ("config_format", "model_impl", "offload_backend", "mamba_cache_dtype", "mamba_ssm_cache_dtype"):
        return (*_IDLE, "auto")
    return (*_IDLE, 1, "1") if name.endswith("_parallel_size") or name == "nnodes" else _IDLE


def _args(spec: Spec, engine: Engine | None) -> Mapping[str, Json]:
    """By the names that the engine gives the values, whatever alias is written."""
    found = {}
    for written, value in spec.serve.args.items():
        head, dot, rest = vllm.flag_name(written).partition(".")
        flag = engine.find(head) if engine else None
        found[f"{flag.dest.replace('-', '_') if flag and flag.dest else head}{dot}{rest}"] = value
    return found


def _share(engine: Engine | None) -> float:
    """It was 0.90 before 0.20."""
    flag = engine.find("gpu_memory_utilization") if engine else None
    told = flag.default if flag and flag.default_known else None
    return float(told) if isinstance(told, int | float) and 0 < told <= 1 else vllm.MEMORY_SHARE


def _whole(value: Json) -> int:
    """0 for what is no number of tokens or requests: the engine says what is wrong with it."""
    if isinstance(value, str):
        value = human_int(value)
    return value if isinstance(value, int) and value > 0 and value is not True else 0


def _word(value: Json, default: str) -> str:
    return value if isinstance(value, str) and value else default
