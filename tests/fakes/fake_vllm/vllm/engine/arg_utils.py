"""The engine's own flags. Some are made from a field of a config class, as all of the real one's are: there the parser
takes any number, and the class knows the bounds."""

from argparse import BooleanOptionalAction
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from vllm.utils.argparse_utils import FlexibleArgumentParser


@dataclass(frozen=True)
class Within:
    """What the real one says with pydantic."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None


@dataclass
class ModelConfig:
    dtype: Literal["auto", "half", "float16", "bfloat16", "float", "float32"] = "auto"


@dataclass
class CacheConfig:
    gpu_memory_utilization: Annotated[float, Within(gt=0, le=1)] = 0.92


@dataclass
class ParallelConfig:
    tensor_parallel_size: Annotated[int, Within(ge=1)] = 1
    pipeline_parallel_size: Annotated[int, Within(ge=1)] = 1


def get_kwargs(config: type) -> dict[str, dict[str, Any]]:
    hints = get_type_hints(config)
    return {one.name: {"default": one.default, "help": "", **_typed(hints[one.name])} for one in fields(config)}


def _typed(hint: Any) -> dict[str, Any]:
    return {"choices": list(get_args(hint))} if get_origin(hint) is Literal else {"type": hint}


class AsyncEngineArgs:
    @staticmethod
    def add_cli_args(parser: FlexibleArgumentParser) -> FlexibleArgumentParser:
        add = parser.add_argument
        parallel = get_kwargs(ParallelConfig)
        add("--model", default="Qwen/Qwen3-0.6B")
        add("--served-model-name", nargs="+")
        add("--revision")
        add("--dtype", **get_kwargs(ModelConfig)["dtype"])
        add("--quantization", "-q")
        add("--max-model-len", type=int)
        add("--gpu-memory-utilization", **get_kwargs(CacheConfig)["gpu_memory_utilization"])
        add("--tensor-parallel-size", "-tp", **parallel["tensor_parallel_size"])
        add("--pipeline-parallel-size", "-pp", **parallel["pipeline_parallel_size"])
        add("--enforce-eager", action=BooleanOptionalAction, default=False)
        add("--use-tqdm-on-load", action=BooleanOptionalAction, default=True)
        add("--shutdown-timeout", type=int, default=0)
        return parser
