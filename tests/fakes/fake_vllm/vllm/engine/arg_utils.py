"""The engine's own flags."""

from argparse import BooleanOptionalAction

from vllm.utils.argparse_utils import FlexibleArgumentParser


class AsyncEngineArgs:
    @staticmethod
    def add_cli_args(parser: FlexibleArgumentParser) -> FlexibleArgumentParser:
        add = parser.add_argument
        add("--model", default="Qwen/Qwen3-0.6B")
        add("--served-model-name", nargs="+")
        add("--revision")
        add("--dtype", default="auto", choices=["auto", "half", "float16", "bfloat16", "float", "float32"])
        add("--quantization", "-q")
        add("--max-model-len", type=int)
        add("--gpu-memory-utilization", type=float, default=0.92)
        add("--tensor-parallel-size", "-tp", type=int, default=1)
        add("--pipeline-parallel-size", "-pp", type=int, default=1)
        add("--enforce-eager", action=BooleanOptionalAction, default=False)
        add("--use-tqdm-on-load", action=BooleanOptionalAction, default=True)
        add("--shutdown-timeout", type=int, default=0)
        return parser
