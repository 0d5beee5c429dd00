"""Parses an argument list with the engine's own parser, in the engine's own runtime. Takes 10 to 17 s: imports.

Reads a JSON list on stdin: what follows the program, beginning with "serve" when the model is positional. The last
line of stdout is {"ok": true}, {"ok": false, "error": TEXT} with the parser's own complaint, or {"ok": null, "why":
TEXT} when this version of the engine keeps its parser where nobody looked.
"""

import difflib
import importlib
import json
import os
import sys

ARGUMENTS = ("vllm.entrypoints.launchers.cli_args", "vllm.entrypoints.openai.cli_args")  # 0.32; older
PARSERS = ("vllm.utils.argparse_utils", "vllm.utils")  # 0.11 and later; older


class Complaint(Exception):
    pass


class NoParser(Exception):
    pass


def first_with(modules, name):
    """The first of the modules that has the attribute. An engine that cannot be imported at all is no parser either."""
    tried = []
    for module in modules:
        try:
            found = importlib.import_module(module)
            if hasattr(found, name):
                return found
            tried.append("%s has no %s" % (module, name))
        except Exception as error:  # noqa: BLE001 (importing the engine runs anything; whatever it raises is the answer)
            tried.append("%s: %s" % (module, error))
    raise NoParser("; ".join(tried))


def quiet(base):
    """The engine's parser class, which raises what it would have printed before ending the process."""

    class Quiet(base):
        def print_usage(self, file=None):
            pass

        def print_help(self, file=None):
            pass

        def exit(self, status=0, message=None):
            text = (message or "").strip()
            text = text.split(": error: ", 1)[-1]
            raise Complaint(text or "these arguments make it print something and end")

    return Quiet


def build(style):
    """(the parser to call, the one that knows the options, the module with its further checks)"""
    arguments = first_with(ARGUMENTS, "make_arg_parser")
    top = quiet(first_with(PARSERS, "FlexibleArgumentParser").FlexibleArgumentParser)(prog="vllm")
    if style != "serve":
        parser = arguments.make_arg_parser(top)
        return parser, parser, arguments
    # Under a subcommand, for that is how `vllm serve` looks at the model and at --config.
    below = top.add_subparsers(required=False, dest="subparser").add_parser("serve")
    return top, arguments.make_arg_parser(below), arguments


def near(error, parser):
    """'did you mean' for each unknown flag of argparse's message."""
    mark = "unrecognized arguments:"
    if mark not in error:
        return ""
    known = sorted(option for option in parser._option_string_actions if option.startswith("--"))
    hints = []
    for word in error.split(mark, 1)[1].split("\n")[0].split():  # below that line the engine may add a hint of its own
        flag = word.split("=", 1)[0].replace("_", "-")
        close = difflib.get_close_matches(flag, known, n=3, cutoff=0.75) if flag.startswith("--") else []
        if close:
            hints.append("%s: did you mean %s?" % (word.split("=", 1)[0], " or ".join(close)))
    return "; ".join(hints)


def check(argv):
    try:
        parser, options, arguments = build("serve" if argv[:1] == ["serve"] else "module")
    except NoParser as error:
        return {"ok": None, "why": str(error)}
    try:
        parsed = parser.parse_args(argv)
        # What the engine refuses right after parsing, such as one flag that needs another.
        getattr(arguments, "validate_parsed_serve_args", lambda _: None)(parsed)
    except Complaint as error:
        hint = near(str(error), options)
        return {"ok": False, "error": " ".join(str(error).split()) + (" (%s)" % hint if hint else "")}
    except (TypeError, ValueError, KeyError, OSError) as error:
        return {"ok": False, "error": " ".join(str(error).split())}
    return {"ok": True}


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != here]
    answer = check(json.loads(sys.stdin.read()))
    sys.stdout.write("\n%s\n" % json.dumps(answer))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # the engine's libraries would take seconds to leave, and some print while they do


if __name__ == "__main__":
    main()
