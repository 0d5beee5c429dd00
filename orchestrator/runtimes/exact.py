"""From requirement lines to lines that leave nothing to choose, and to the hashes of what they name, by uv."""

import tomllib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.errors import RuntimeFailure
from orchestrator.lockfile import is_package
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


def hashed(uv: "Uv", spec: RuntimeSpec, lines: Sequence[str], python: str) -> tuple[str, ...]:
    """The same lines, each with the hashes of the files that this platform may take for it. Raises RuntimeFailure."""
    options = (*_PLAIN, "--no-deps", "--format", "pylock.toml", "--python", python)
    text = uv("pip", "compile", *options, *uv.sources(), uv.file("exact.in", lines))
    known = {one["name"]: _hashes(one) for one in tomllib.loads(text).get("packages", [])}
    found = tuple(" ".join([line, *known.get(line.partition("==")[0], ())]) for line in lines)
    for line in found:
        if not is_package(line):
            why = f"{line.partition('://')[0]}... is not one package at one version, or holds a password"
            raise RuntimeFailure(f"lock the runtime ({spec.label})", why, "name it in another way")
    return found


def _hashes(package: dict[str, Any]) -> list[str]:
    """Of its wheels; of its source where there are none."""
    files = package.get("wheels") or [package[kind] for kind in ("sdist",) if kind in package]
    return [
        f"--hash=sha256:{one}" for one in sorted({file.get("hashes", {}).get("sha256", "") for file in files}) if one
    ]
