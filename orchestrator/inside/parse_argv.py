"""Parses an argument list with the engine's own parser, in the engine's own runtime. Takes 6 to 17 s: imports.

Reads a JSON list on stdin: what follows the program, beginning with "serve" when the model is positional. The last
line of stdout is {"ok": true}, {"ok": false, "error": TEXT} with the parser's own complaint, or {"ok": null, "why":
TEXT} when this version of the engine keeps its parser where nobody looked.
"""

from __future__ import annotations

import difflib
import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

ARGUMENTS = (
    "vllm.entrypoints.common.cli_args",  # 0.33
    "vllm.entrypoints.launchers.cli_args",  # 0.32
    "vllm.entrypoints.openai.cli_args",  # older
)
PARSERS = ("vllm.utils.argparse_utils", "vllm.utils")  # 0.11 and later; older
UNKNOWN = "unrecognized arguments:"


class Complaint(Exception):
    pass


class NoParser(Exception):
    pass


def first_with(modules: tuple[str, ...], name: str) -> Any:
    """The first of the modules that has the attribute. An engine that cannot be imported at all is no parser either."""
    tried = []
    for module in modules:
        try:
            found = importlib.import_module(module)
        except Exception as error:  # noqa: BLE001 (importing the engine runs anything; whatever it raises is the answer)
            tried.append(f"{module}: {error}")
            continue
        if hasattr(found, name):
            return found
        tried.append(f"{module} has no {name}")
    raise NoParser("; ".join(tried))


def quiet(base: Any) -> Any:
    """The engine's parser class, which raises what it would have printed before ending the process."""

    def leave(parser: Any, status: int = 0, message: str | None = None) -> NoReturn:
        text = (message or "").strip().split(": error: ", 1)[-1]
        raise Complaint(text or "these arguments make it print something and end")

    def silent(parser: Any, file: Any = None) -> None:
        pass

    return type("Quiet", (base,), {"exit": leave, "print_usage": silent, "print_help": silent})


def build(style: str) -> tuple[Any, Any, Any]:
    """(the parser to call, the one that knows the options, the module with its further checks)"""
    arguments = first_with(ARGUMENTS, "make_arg_parser")
    top = quiet(first_with(PARSERS, "FlexibleArgumentParser").FlexibleArgumentParser)(prog="vllm")
    if style != "serve":
        parser = arguments.make_arg_parser(top)
        return parser, parser, arguments
    # Under a subcommand, for that is how `vllm serve` looks at the model and at --config.
    below = top.add_subparsers(required=False, dest="subparser").add_parser("serve")
    return top, arguments.make_arg_parser(below), arguments


def near(error: str, parser: Any) -> str:
    """'did you mean' for each unknown flag of argparse's message, whose first line names them."""
    known = sorted(option for option in parser._option_string_actions if option.startswith("--"))
    hints = []
    for word in error.partition(UNKNOWN)[2].partition("\n")[0].split():
        flag = word.split("=", 1)[0]
        close = difflib.get_close_matches(flag.replace("_", "-"), known, n=3, cutoff=0.75)
        if flag.startswith("--") and close:
            hints.append("{}: did you mean {}?".format(flag, " or ".join(close)))
    return " ({})".format("; ".join(hints)) if hints else ""


def check(argv: list[str]) -> dict[str, Any]:
    try:
        parser, options, arguments = build(argv[0] if argv else "")
    except NoParser as error:
        return {"ok": None, "why": str(error)}
    try:
        parsed = parser.parse_args(argv)
        # What the engine refuses right after parsing, such as one flag that needs another.
        getattr(arguments, "validate_parsed_serve_args", lambda _: None)(parsed)
    except Complaint as error:
        return {"ok": False, "error": " ".join(str(error).split()) + near(str(error), options)}
    except Exception as error:  # noqa: BLE001 (newer engines have a class of their own for it)
        return {"ok": False, "error": " ".join(str(error).split())}
    return {"ok": True}


if __name__ == "__main__":
    here = Path(__file__).resolve().parent  # this folder's files are not modules of the runtime
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != here]
    answer = check(json.loads(sys.stdin.read()))
    sys.stdout.write("\n" + json.dumps(answer) + "\n")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # the engine's libraries would take seconds to leave, and some print while they do
