"""What orch starts an engine with, as a shell script that needs no orch. Pure: the values are given."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.codec import digest
from orchestrator.environ import BASELINE, VISIBLE
from orchestrator.errors import PlanError
from orchestrator.model import Deployment, SecretRef


@dataclass(frozen=True, slots=True)
class Export:
    """One start. ``env`` is complete but for what comes from the caller (environ.BASELINE) and for the secrets;
    ``engine`` names it with its version. ``placed``: it runs, on the cards that ``env`` shows it."""

    deployment: Deployment
    argv: tuple[str, ...]
    env: Mapping[str, str]
    engine: str
    placed: bool = False

    @property
    def plain(self) -> Mapping[str, str]:
        """Without those that a secret stands in for."""
        secrets = self.deployment.secret_refs
        return {name: value for name, value in sorted(self.env.items()) if name not in secrets}


def env_text(made: Export) -> str:
    """Lines to be sourced. What is the caller's own anyway (HOME, a proxy) is not among them."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in made.plain.items()]
    refs = sorted(made.deployment.secret_refs.items())
    return "\n".join([*lines, *(f'export {name}="{_reference(ref)}"' for name, ref in refs)])


def script_text(made: Export) -> str:
    """Raises PlanError for a program that `env` would take for a variable."""
    if "=" in made.argv[0]:
        why = f"the path of its program, {made.argv[0]}, holds a ="
        raise PlanError(f"export {made.deployment.name} as a script", why, "use --format env, or move the runtime")
    parts = [
        ["#!/usr/bin/env bash", *(f"# {line}" for line in _about(made)), "set -euo pipefail"],
        list(_secrets(made.deployment.secret_refs)),
        _cleaning(made),
        [" \\\n  ".join(['exec env "${others[@]}"', *_assignments(made), *_command(made.argv)])],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _about(made: Export) -> Iterator[str]:
    wanted = made.deployment
    yield f"{wanted.name}: {_one_line(made.engine)}, as orch starts it. Made by `orch export`."
    yield f"  profile      {_one_line(wanted.file or wanted.source.file)}"
    if wanted.given:
        yield f"  with         {_one_line(' '.join(f'--set {one}' for one in wanted.given))}"
    yield f"  environment  {_one_line(wanted.environment)}"
    yield f"  spec         {digest(wanted.spec)}"
    yield f"  GPUs         {_one_line(_gpus(made))}"


def _gpus(made: Export) -> str:
    visible = made.env.get(VISIBLE)
    if visible is None:
        return f"not pinned, for orch chooses them at each start; {VISIBLE} of the caller pins them"
    if not visible:
        return "none is shown to it"
    return f"{visible}, {'where it runs' if made.placed else 'as its files say'}"


def _secrets(refs: Mapping[str, SecretRef]) -> Iterator[str]:
    """Exported, and no words of the command: those can be read by everybody in `ps`."""
    for name, ref in sorted(refs.items()):
        if ref.kind == "env":
            yield f': "{_reference(ref)}"'
            if ref.name != name:
                yield f"{name}=${ref.name}"
        else:
            yield f"{name}={_reference(ref)}"
            yield f': "${{{name}:?its file holds no value}}"'
        yield f"export {name}"


def _reference(ref: SecretRef) -> str:
    if ref.kind == "env":
        return f"${{{ref.name}:?export {ref.name} first}}"
    return f"$(cat -- {shlex.quote(ref.name)})"


def _cleaning(made: Export) -> list[str]:
    """Not ``env -i`` with all that stays as its words: a proxy's URL may hold a password."""
    choice = [] if VISIBLE in made.env else [VISIBLE]
    kept = " ".join([*BASELINE, *choice, *sorted(made.deployment.secret_refs)])
    return [
        "# Of the caller's environment the engine gets these alone.",
        f"kept=' {kept} '",
        "others=()",
        "while IFS= read -r -d '' entry; do",
        "  name=${entry%%=*}",
        '  [[ $kept == *" $name "* ]] || others+=(-u "$name")',
        "done < <(env -0)",
    ]


def _assignments(made: Export) -> list[str]:
    return [f"{name}={shlex.quote(value)}" for name, value in made.plain.items()]


def _command(argv: Sequence[str]) -> list[str]:
    """A line for each flag with its values."""
    lines: list[list[str]] = [[]]
    for word in argv:
        if word.startswith("--") and lines[-1]:
            lines.append([])
        lines[-1].append(shlex.quote(word))
    return [" ".join(line) for line in lines]


def _one_line(text: str) -> str:
    """A line break would end the comment, and what follows it would be run."""
    return text if text.isprintable() else ascii(text)
