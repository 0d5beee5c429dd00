"""A stranger's command line in two words, for tables and messages. Pure.

Command lines carry secrets, and everyone of a team reads what orch prints. So only what is a name by its place or by
its shape is kept: the program, the script or module of an interpreter, a sub-command. Never an option, nor what follows
one: that may be its value.
"""

import re
from collections.abc import Sequence

LONGEST = 40
_PYTHON = re.compile(r"(?:python|pypy)[0-9.]*")
_LAST_OPTION = re.compile(r"-[A-Za-z]*?([cmWX])(.*)", re.DOTALL)  # those of Python that take a value, joined or apart
_SUBCOMMAND = re.compile(r"[a-z]{1,20}(?:-[a-z]{1,20})?")
_FILE = re.compile(r"[\w.-]{1,32}\.[a-z]{1,6}[0-9]?")


def short_command(argv: Sequence[str]) -> str:
    """``"python train.py"``, ``"vllm serve"``, ``"VLLM::EngineCore"``; empty for none."""
    if not argv or not argv[0].strip():
        return ""
    program = _name(argv[0].strip())
    word = _script(argv[1:]) if _PYTHON.fullmatch(program) else _argument(argv[1:])
    return f"{program} {word}".rstrip()


def _script(words: Sequence[str]) -> str:
    """The script that Python runs, or its module. After ``-c`` comes a program text."""
    rest = iter(words)
    for word in rest:
        if not word.startswith("-"):
            return _name(word)
        if found := _LAST_OPTION.fullmatch(word):
            option, value = found[1], found[2] or next(rest, "")
            if option in "cm":
                return f"-m {_name(value)}" if option == "m" else ""
    return ""


def _argument(words: Sequence[str]) -> str:
    """The first word, where it is a sub-command or a file's name."""
    word = words[0].rpartition("/")[2] if words else ""
    return word if _SUBCOMMAND.fullmatch(word) or _FILE.fullmatch(word) else ""


def _name(path: str) -> str:
    """The last part of a path, without what a terminal would act on."""
    name = path.rpartition("/")[2] or path
    shown = "".join(one if one.isprintable() else "?" for one in name)
    return shown if len(shown) <= LONGEST else shown[: LONGEST - 3] + "..."
