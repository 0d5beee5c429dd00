"""vLLM's parser takes ``--max_model_len`` and ``--max-model-len`` alike."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence


class FlexibleArgumentParser(ArgumentParser):
    def parse_known_args(
        self, args: Sequence[str] | None = None, namespace: Namespace | None = None
    ) -> tuple[Namespace, list[str]]:
        given = sys.argv[1:] if args is None else args
        return super().parse_known_args([_dashed(arg) for arg in given], namespace)


def _dashed(arg: str) -> str:
    name, equals, value = arg.partition("=")
    return name.replace("_", "-") + equals + value if arg.startswith("--") else arg
