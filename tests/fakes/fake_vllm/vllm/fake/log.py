"""Lines in vLLM's own form; the real ones are in tests/recorded."""

import os
import sys
import time
from argparse import Namespace

LONGEST = 40960
TOO_LONG = """\
Traceback (most recent call last):
  File "<frozen runpy>", line 198, in _run_module_as_main
  File "vllm/entrypoints/launchers/api_server/entry.py", line 232, in main
    uvloop.run(run_server(args))
  File "vllm/engine/arg_utils.py", line 1955, in create_model_config
    return ModelConfig(
           ^^^^^^^^^^^^
pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig
  Value error, User-specified max_model_len ({asked}) is greater than the derived max_model_len \
(max_position_embeddings={longest}.0 or model_max_length=None in model's config.json). To allow overriding this \
maximum, set the env var VLLM_ALLOW_LONG_MAX_MODEL_LEN=1. [type=value_error, \
input_value=ArgsKwargs((), {{'model': ...nderer_num_workers': 1}}), input_type=ArgsKwargs]
    For further information visit https://errors.pydantic.dev/2.14/v/value_error
"""


def write(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def info(message: str, where: str = "api_server.py:1", level: str = "INFO") -> None:
    write(f"(APIServer pid={os.getpid()}) {level} {time.strftime('%m-%d %H:%M:%S')} [{where}] {message}\n")


def opening(args: Namespace) -> None:
    info("version 9.9.9", "api_utils.py:347")
    info(f"non-default args: {{'model': '{args.model}', 'port': {args.port}}}", "api_utils.py:286")
    for text in args.fake_log:
        write(text + "\n")


def progress() -> None:
    """A bar that redraws its one line with carriage returns."""
    for done in (0, 1):
        bar = "█" * 10 if done else " " * 10
        write(f"\rLoading safetensors checkpoint shards: {done * 100:3d}% Completed |{bar}| {done}/1 [00:00<?, ?it/s]")
    write("\n")


def too_long(args: Namespace) -> str:
    return TOO_LONG.format(asked=args.max_model_len, longest=LONGEST)
