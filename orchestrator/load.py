"""Profiles and environments, from YAML files to the model's values. Every error names file:line:column, and all
errors of all files come together.

The only way in: nothing else reads these files. Raises ``InputError``, or ``Problems`` when there are several.
"""

import os.path
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator import find
from orchestrator.checks import check_environment, check_profile, look, section
from orchestrator.engines.vllm import MEMORY_SHARE, flag_name
from orchestrator.errors import InputError, OrchError, raise_all
from orchestrator.expand import Expander
from orchestrator.findings import Findings, coded, did_you_mean, each, listed
from orchestrator.model import (
    Environment,
    GpuDeclaration,
    Gpus,
    Json,
    ModelRef,
    Profile,
    Restart,
    RuntimeSpec,
    SecretRef,
    Serve,
    Source,
)
from orchestrator.model import Path as Place
from orchestrator.overrides import apply_overrides
from orchestrator.schema_errors import Kind, check, schema_text
from orchestrator.units import parse_duration, parse_size
from orchestrator.yamldoc import parse

__all__ = [
    "clashes",
    "environment_file",
    "load_environment",
    "load_profile",
    "load_set",
    "profile_files",
    "same_names",
    "schema_text",
]


def load_profile(path: str | Path, variables: Mapping[str, str], overrides: Sequence[str] = ()) -> Profile:
    """One profile. ``variables`` is what ``${VAR}`` and ``~`` are taken from, ``overrides`` are ``KEY=VALUE``."""
    read = _read("profile", path, variables, overrides)
    check_profile(read.value, read.plain, read.findings)
    read.findings.raise_all()
    return _profile(read)


def load_environment(path: str | Path, variables: Mapping[str, str]) -> Environment:
    """One environment; its name must be that of its file."""
    read = _read("environment", path, variables, ())
    check_environment(read.value, Path(path).stem, read.findings)
    read.findings.raise_all()
    return _environment(read)


def load_set(
    paths: Sequence[str], root: Path, variables: Mapping[str, str], overrides: Sequence[str] = ()
) -> tuple[tuple[Profile, ...], dict[str, Environment]]:
    """The profiles that ``paths`` stand for, in that order, each file once; and their environments by name.

    A PATH is a file, a folder, a deployment's name or a model, the latter two in ``root``/profiles.
    """
    files, errors = profile_files(paths, root)
    profiles: list[Profile] = []
    for file in files:
        try:
            profiles.append(load_profile(file, variables, overrides))
        except OrchError as error:
            errors += each(error)
    errors += same_names((profile.name, profile.source.at("name")) for profile in profiles)
    environments: dict[str, Environment] = {}
    for name in sorted({profile.environment for profile in profiles}):
        try:
            wanted_by = next(profile for profile in profiles if profile.environment == name)
            file = environment_file(name, root, wanted_by.source.at("environment"))
            environments[name] = load_environment(file, variables)
        except OrchError as error:
            errors += each(error)
    raise_all(errors)
    return tuple(profiles), environments


def profile_files(paths: Sequence[str], root: Path) -> tuple[tuple[Path, ...], list[OrchError]]:
    """The files of `load_set`, and why some PATHs stand for none."""
    errors: list[OrchError] = []
    files: dict[str, Path] = {}
    for path in paths:
        try:
            with coded("unknown-path"):
                for file in find.find_files(path, root):
                    files.setdefault(os.path.realpath(file), file)
        except OrchError as error:
            errors += each(error)
    return tuple(files.values()), errors


def environment_file(name: str, root: Path, at: str = "") -> Path:
    """The file of an environment by its name; ``at`` is where it was named. Raises InputError."""
    folder = root / "environments"
    for ending in find.ENDINGS:
        if (file := folder / (name + ending)).is_file():
            return file
    known = sorted({path.stem for path in find.folder_files(folder)})
    do = did_you_mean(name, known) or (f"there is {listed(known)}" if known else "")
    why = f"there is no {find.display(folder / name)}.yaml"
    raise InputError(f"use environment{'' if at else f' {name}'}", why, do, at, "environment-missing")


def clashes(profiles: Sequence[Profile]) -> list[InputError]:
    """Why these cannot run together: the ports that two of them claim, and the pinned GPUs of which they ask for more
    than all of the memory."""
    first: dict[str, tuple[Profile, str]] = {}
    shares: dict[str, float] = {}
    found: list[InputError] = []
    for profile in profiles:
        pinned = profile.gpus if isinstance(profile.gpus, tuple) else ()
        port_at = profile.source.at("serve", "port")
        claims = [(f"port {profile.serve.port}", port_at, "change the port", "port-clash")]
        for gpu in pinned:
            first.setdefault(f"GPU {gpu}", (profile, profile.source.at("gpus")))
            shares[gpu] = shares.get(gpu, 0.0) + (profile.serve.gpu_memory_utilization or MEMORY_SHARE)
            if shares[gpu] > 1:
                claims.append((f"GPU {gpu}", profile.source.at("gpus"), "pin another GPU", "gpu-clash"))
        for claim, at, cure, code in claims:
            other, where = first.setdefault(claim, (profile, at))
            if other is not profile:
                what = f"run {profile.name} together with {other.name}"
                do = f"give them to orch separately, or {cure}"
                found.append(InputError(what, f"both claim {claim} ({other.name} at {where})", do, at, code))
    return found


def same_names(named: Iterable[tuple[str, str]]) -> list[InputError]:
    """Why profiles of these names, each with where it stands, are no set."""
    first: dict[str, str] = {}
    found: list[InputError] = []
    for name, at in named:
        if name in first:
            why = f"{first[name]} has it too"
            found.append(InputError(f"use name {name}", why, "change one of the two", at, "same-name"))
        first.setdefault(name, at)
    return found


# ------------------------------------------------------------------------------------------------------- one document


@dataclass(frozen=True, slots=True)
class _Read:
    """A document on its way: expanded, checked against its schema, not yet known to be good."""

    value: Any
    plain: Mapping[Place, str]
    source: Source
    text: str
    findings: Findings


def _read(kind: Kind, path: str | Path, variables: Mapping[str, str], overrides: Sequence[str]) -> _Read:
    with coded("unreadable"):
        text = find.read_text(path, kind)
    file = find.display(path)
    with coded("bad-override"):
        document, source = apply_overrides(parse(text, file), overrides, file)
    findings = Findings(source, kind)
    check(kind, document.value, document.plain, findings)
    folder = os.path.dirname(os.path.abspath(path))  # noqa: PTH100, PTH120 (pathlib does not fold "..")
    value = Expander(kind, variables, folder, findings).expand(document.value)
    return _Read(value, document.plain, source, text, findings)


def _profile(read: _Read) -> Profile:
    value: dict[str, Any] = read.value
    given: dict[str, Any] = {}
    if "gpus" in value:
        given["gpus"] = _gpus(value["gpus"])
    if (timeout := look(value, "readiness", "timeout")) is not None:
        given["ready_timeout"] = parse_duration(timeout)
    if "drain" in value:
        given["drain"] = parse_duration(value["drain"])
    if "fit" in value:
        given["fit"] = value["fit"]
    return Profile(
        name=value["name"],
        environment=value["environment"],
        model=ModelRef(**value["model"]),
        serve=_serve(section(value, "serve")),
        restart=_restart(section(value, "restart")),
        source=read.source,
        text=read.text,
        **given,
    )


def _restart(value: Mapping[str, Any]) -> Restart:
    given = {key: _whole(one) for key, one in value.items()}
    if "window" in given:
        given["window"] = parse_duration(given["window"])
    return Restart(**given)


def _serve(value: Mapping[str, Any]) -> Serve:
    given = {key: _whole(one) for key, one in value.items()}
    if "names" in given:
        given["names"] = tuple(given["names"])
    if "gpu_memory_utilization" in given:
        given["gpu_memory_utilization"] = float(given["gpu_memory_utilization"])
    if "args" in given:
        given["args"] = {flag_name(key): one for key, one in given["args"].items()}
    return Serve(**given)


def _gpus(value: Json) -> Gpus:
    if isinstance(value, list):
        return tuple(str(_whole(gpu)) for gpu in value)
    return "auto" if value == "auto" else int(value)


def _environment(read: _Read) -> Environment:
    value: dict[str, Any] = read.value
    gpus = look(value, "host", "gpus")
    return Environment(
        name=value["name"],
        runtime=_runtime(value["runtime"]),
        cuda_home=look(value, "cuda", "home") or None,
        libcuda=look(value, "cuda", "libcuda") or "auto",
        hf_home=look(value, "cache", "hf_home") or None,
        transfer=look(value, "cache", "transfer") or "auto",
        env={name: _written(read, "env", name) for name in section(value, "env")},
        secrets={name: _secret(one) for name, one in section(value, "secrets").items()},
        host_gpus=_declaration(gpus) if gpus else None,
        source=read.source,
        text=read.text,
        warnings=read.findings.warnings,
        backend=value.get("backend", "local"),
    )


def _written(read: _Read, *path: str) -> str:
    """Text as it is, a number as it is written: 1.10 is the text "1.10", not the number 1.1."""
    value = look(read.value, *path)
    return value if isinstance(value, str) else read.plain[path]


def _runtime(value: Mapping[str, Any]) -> RuntimeSpec:
    if "conda" in value:
        return RuntimeSpec("conda", value["conda"])
    if "venv" in value:
        return RuntimeSpec("venv", value["venv"])
    if "self" in value:
        return RuntimeSpec("self")
    fields: dict[str, Any] = {key: tuple(one) if isinstance(one, list) else one for key, one in value.items()}
    return RuntimeSpec("requirements", **fields)


def _secret(value: Mapping[str, str]) -> SecretRef:
    return SecretRef("env", value["env"]) if "env" in value else SecretRef("file", value["file"])


def _declaration(value: Mapping[str, Any]) -> GpuDeclaration:
    counts = {"count": int(value["count"]), "memory": parse_size(value["memory"])}
    return GpuDeclaration(**{**value, **counts})


def _whole(value: Json) -> Json:
    """JSON Schema counts 1.0 as a whole number; the engine's parser and a diff do not."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
