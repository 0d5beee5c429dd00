"""Where the parser stands in newer versions."""

from vllm.entrypoints.openai.cli_args import make_arg_parser

__all__ = ["make_arg_parser"]
