"""The server's flags, and with them the fake's own, so that a profile can set those in ``serve.args``."""

from pathlib import Path

from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.utils.argparse_utils import FlexibleArgumentParser


def make_arg_parser(parser: FlexibleArgumentParser) -> FlexibleArgumentParser:
    parser.add_argument("model_tag", nargs="?")
    parser.add_argument("--host")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--api-key", nargs="+")
    return _add_fake_args(AsyncEngineArgs.add_cli_args(parser))


def _add_fake_args(parser: FlexibleArgumentParser) -> FlexibleArgumentParser:
    add = parser.add_argument_group("fake").add_argument
    add("--fake-ready-after", type=float, default=0.0, metavar="SECONDS")
    add("--fake-wait-for", type=Path, metavar="FILE", help="not ready until the file exists")
    add("--fake-late-listen", action="store_true", help="refuse connections until ready, as the real one does")
    add("--fake-never-ready", action="store_true")
    add("--fake-exit-code", type=int, help="exit with it before ready, at once or as the next two say")
    add("--fake-exit-after", type=float, metavar="SECONDS", help="exit (code 1 by default) before ready")
    add("--fake-exit-when", type=Path, metavar="FILE", help="exit (code 1 by default) when the file exists")
    add("--fake-log", action="extend", nargs="+", default=[], metavar="TEXT", help="print it at start")
    add("--fake-ignore-term", action="store_true")
    add("--fake-hang-health", action="store_true", help="/health answers, /v1/models does not")
    add("--fake-hang-file", type=Path, metavar="FILE", help="while it exists the engine does nothing; /health answers")
    add("--fake-children", type=int, default=0, metavar="N", help="processes that survive a KILL of the server")
    add("--fake-stubborn", action="store_true", help="the children ignore TERM")
    add("--fake-blank-environ", action="store_true", help="the children show no environment")
    return parser
