"""From requirement lines to lines that leave nothing to choose, to the hashes of what they name, and into a virtual
environment, by uv."""

import tomllib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.lockfile import has_hash
from orchestrator.model import RuntimeSpec
from orchestrator.ports import Say

if TYPE_CHECKING:
    from orchestrator.runtimes.uv import Uv

_PLAIN = ("--no-header", "--no-annotate")


def pinned(uv: "Uv", spec: RuntimeSpec, python: str, say: Say) -> tuple[str, ...]:
    """What the requirements come to today. Raises RuntimeFailure."""
    say(f"resolving {', '.join(spec.requirements)}")
    if uv.remark:
        say(uv.remark)
    wanted = uv.file("requirements.in", spec.requirements)
    text = uv("pip", "compile", *_PLAIN, "--python", python, *uv.limits(), *uv.sources(), wanted, on_line=say)
    return tuple(sorted(line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")))


def hashed(uv: "Uv", lines: Sequence[str], python: str) -> tuple[str, ...]:
    """The same lines, each with the hashes of the files that this platform may take for it, as far as the indexes tell
    them. Raises RuntimeFailure."""
    options = (*_PLAIN, "--no-deps", "--format", "pylock.toml", "--python", python)
    text = uv("pip", "compile", *options, *uv.sources(), uv.file("exact.in", lines), exact=True)
    known = {one["name"]: _hashes(one) for one in tomllib.loads(text).get("packages", [])}
    return tuple(" ".join([line, *known.get(line.partition("==")[0].partition(" @ ")[0], ())]) for line in lines)


def install(uv: "Uv", lines: Sequence[str], python: str, say: Say) -> None:
    """These and nothing else, each with one of its hashes if it has any, whatever the user's settings of uv say. Raises
    RuntimeFailure."""
    check = "--require-hashes" if all(map(has_hash, lines)) else "--verify-hashes"
    where = ["--no-deps", check, "-p", python, *uv.sources()]
    uv("pip", "install", *where, "-r", uv.file("pinned.txt", lines), on_line=say, exact=True)


def _hashes(package: dict[str, Any]) -> list[str]:
    """Of its wheels and of its source, for which of them is taken is the user's to say (UV_NO_BINARY)."""
    files = [*package.get("wheels", ()), *(package[kind] for kind in ("sdist", "archive") if kind in package)]
    return [
        f"--hash=sha256:{one}" for one in sorted({file.get("hashes", {}).get("sha256", "") for file in files}) if one
    ]
