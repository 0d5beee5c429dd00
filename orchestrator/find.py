"""From what a person types (a file, a folder, a deployment's name, a model) to profile files.

Looks at names only: a broken file is found by its file name and refused by whoever loads it.
"""

import os.path
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.checks import look
from orchestrator.errors import InputError
from orchestrator.findings import did_you_mean, listed
from orchestrator.units import format_size
from orchestrator.yamldoc import MAX_BYTES, parse

ENDINGS = (".yaml", ".yml")


def display(path: str | Path) -> str:
    """``path`` as a person would type it here: relative when it is inside the working directory."""
    full, here = os.path.abspath(path), os.getcwd()  # noqa: PTH100, PTH109 (pathlib does not fold "..")
    return os.path.relpath(full, here) if full == here or full.startswith(here.rstrip("/") + "/") else full


def read_text(path: str | Path, kind: str) -> str:
    """The file's text, at most 1 MiB of UTF-8; InputError says in words why it cannot be read."""
    if not os.path.isfile(path) and os.path.exists(path):  # noqa: PTH110, PTH113 (these two never raise)
        raise InputError(
            "read", "it is a folder" if Path(path).is_dir() else "it is not a regular file", at=display(path)
        )
    try:
        with Path(path).open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
            size = os.fstat(stream.fileno()).st_size
    except FileNotFoundError as error:
        link = os.path.islink(path)  # noqa: PTH114 (never raises)
        why = f"it is a link to {Path(path).readlink()}, which is not there" if link else "there is no such file"
        raise InputError("read", why, at=display(path)) from error
    except (OSError, ValueError) as error:
        raise InputError("read", (getattr(error, "strerror", None) or str(error)).lower(), at=display(path)) from error
    if len(data) > MAX_BYTES:
        limit = f"{'an' if kind[0] in 'aeiou' else 'a'} {kind} has at most 1 MiB"
        raise InputError("read", f"it has {format_size(max(size, len(data)))} and {limit}", at=display(path))
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise InputError("read", "it is not UTF-8 text", at=f"{display(path)}:{line}:{column}") from error


def folder_files(folder: str | Path) -> list[Path]:
    """What is called like a YAML file directly inside ``folder``, sorted; none when there is no such folder. A broken
    link or a folder among them is refused by whoever reads it, and not passed over."""
    try:
        inside = sorted(Path(folder).iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise InputError("read", (error.strerror or str(error)).lower(), at=display(folder)) from error
    return [path for path in inside if path.suffix in ENDINGS and not path.name.startswith(".")]


def find_files(path: str, root: Path) -> list[Path]:
    """The profile files that ``path`` stands for; InputError when there is none, or when it could be several."""
    if os.path.isdir(path):  # noqa: PTH112 (never raises)
        if not (files := folder_files(path)):
            raise InputError("use this folder", "it holds no *.yaml or *.yml", "name a profile", at=display(path))
        return files
    if os.path.exists(path):  # noqa: PTH110 (never raises)
        return [Path(path)]
    return [_find_name(path, root)]


@dataclass(frozen=True, slots=True)
class _Known:
    """A profile in the project, as far as it can be read; ``models`` are what it serves and from where."""

    file: Path
    name: str
    models: tuple[str, ...]


def _find_name(name: str, root: Path) -> Path:
    known = list(_known(root / "profiles"))
    own_file = [one for one in known if one.name == name and one.file.stem == name]
    named = own_file or [one for one in known if one.name == name]
    found = named or [one for one in known if name in one.models]
    if len(found) == 1:
        return found[0].file
    if found:
        choices = "; ".join(f"{one.name} ({display(one.file)})" for one in found)
        noun = "are called that" if named else "serve it"
        what = f"tell which profile {_quoted(name)} is"
        raise InputError(what, f"several {noun}: {choices}", "name one file of them")
    where = f"under {display(root / 'profiles')}"
    why = f"there is no such file or folder, and no profile of that name or model {where}"
    do = did_you_mean(name, [word for one in known for word in (one.name, *one.models)])
    names = sorted({one.name for one in known})
    raise InputError(f"find {_quoted(name)}", why, do or (f"there is {listed(names[:20])}" if names else ""))


def _known(folder: Path) -> Iterator[_Known]:
    for file in folder_files(folder):
        try:
            value = parse(read_text(file, "profile"), "").value
        except InputError:
            value = None
        names = look(value, "serve", "names")
        models = [look(value, "model", "repo"), *(names if isinstance(names, list) else ())]
        name = look(value, "name")
        yield _Known(
            file,
            name if isinstance(name, str) else file.stem,
            tuple(model for model in models if isinstance(model, str)),
        )


def _quoted(text: str) -> str:
    return f'"{text}"' if text.isprintable() and len(text) <= 200 else ascii(text)[:200]
