"""What a new profile can start from: the project's files, the runtime of this shell, a model's config on this disk.
Looks, and writes nothing but the new files themselves."""

import os
import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from orchestrator.checks import look
from orchestrator.engine_data import load, shipped
from orchestrator.engines.knowledge import Engine
from orchestrator.engines.versions import nearest, order
from orchestrator.errors import InputError, UsageProblem
from orchestrator.files import read_json
from orchestrator.find import ENDINGS, display, folder_files, read_text
from orchestrator.hub.layout import Repo, cache_folder
from orchestrator.load import load_environment, load_profile
from orchestrator.model import Environment, Json, ModelRef, Profile, RuntimeSpec, SecretRef
from orchestrator.new_profile import Known
from orchestrator.scaffold import SCHEMAS
from orchestrator.yamldoc import parse

ENGINE = "vllm==0.32.0"
"""What a new environment asks for where there is no engine yet."""
FIRST_PORT = 8000
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Project:
    """``names`` and ``ports`` are those of the profiles that can be read, ``environments`` the names of files."""

    root: Path
    names: Mapping[str, Path]
    ports: frozenset[int]
    environments: tuple[str, ...]

    def free_port(self) -> int:
        return next(port for port in range(FIRST_PORT, 65536) if port not in self.ports)

    def free_name(self, name: str, file: Path) -> str:
        """InputError when another profile has it."""
        other = self.names.get(name)
        if other is not None and not _same(other, file):
            raise InputError(f"use name {name}", f"{display(other)} has it", "give another with --name")
        return name

    def schema(self, kind: str, folder: Path) -> str:
        """The way from ``folder`` to the schema in the project, or ""."""
        for place in SCHEMAS:
            file = self.root / place / f"{kind}.schema.json"
            if file.is_file():
                return os.path.relpath(file, folder)
        return ""


def check_name(name: str, option: str) -> None:
    """Raises UsageProblem for one that no file of a project could be called."""
    if not _NAME.fullmatch(name):
        why = "a name has 1 to 63 small letters, digits, dots, dashes and underscores"
        raise UsageProblem(f"use {option} {name if name.isprintable() else ascii(name)}", why, "give another")


def project(root: Path) -> Project:
    names: dict[str, Path] = {}
    ports: set[int] = set()
    for file in folder_files(root / "profiles"):
        try:
            value = parse(read_text(file, "profile"), "").value
        except InputError:
            continue
        name, port = look(value, "name"), look(value, "serve", "port")
        names.setdefault(name if isinstance(name, str) else file.stem, file)
        ports.add(port if isinstance(port, int) else FIRST_PORT)
    environments = tuple(sorted({file.stem for file in folder_files(root / "environments")}))
    return Project(root, names, frozenset(ports), environments)


def existing(file: Path) -> Path | None:
    """The file, under either ending, if it is there."""
    ends = [file, *(file.with_suffix(ending) for ending in ENDINGS)]
    return next((one for one in ends if os.path.lexists(one)), None)


# ------------------------------------------------------------------------------------------------------- the model


def known(model: ModelRef, variables: Mapping[str, str]) -> Known:
    """A config.json in the folder, or in the Hub's cache as these variables have it."""
    if model.path:
        return _config(Path(model.path) / "config.json")
    repo = Repo(cache_folder(variables), (model.repo or "").partition(":")[0])
    commits = [repo.ref("main"), repo.pinned("main"), *reversed(repo.commits())]
    found = (_config(repo.pointer(commit, "config.json")) for commit in commits if commit)
    return next((one for one in found if one.config is not None), Known())


def _config(file: Path) -> Known:
    value = read_json(file)
    return Known() if value is None else Known(value, display(file))


def engines(version: str = "") -> list[Engine]:
    """What is known of each version of the engine, the nearest to ``version`` first, else the newest."""
    files = shipped()
    first = nearest(version, files)
    names = sorted(files, key=lambda name: (name == first, order(name)), reverse=True)
    return [engine for name in names if (engine := load(files[name])) is not None]


def engine_version(runtime: RuntimeSpec | None) -> str:
    """As a requirement pins it; "" when it does not."""
    lines = runtime.requirements if runtime else ()
    found = (re.match(r"vllm(?:-cpu)?\s*==\s*([\w.]+)", line) for line in lines)
    return next((one[1] for one in found if one), "")


def config_file(path: str) -> Json:
    """What the file of `--config` holds; None when it cannot be read."""
    try:
        return parse(read_text(path, "config"), "").value
    except InputError:
        return None


# ------------------------------------------------------------------------------------------------------ the runtime


def runtime_here(variables: Mapping[str, str]) -> tuple[RuntimeSpec, str]:
    """The one with an engine in it that this shell has active, or orch's own; else one to be built. And why."""
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        prefix = variables.get(name)
        if prefix and has_engine(Path(prefix)) and Path(prefix).is_absolute():
            return as_found(
                RuntimeSpec("venv", prefix)
            ), f"the active {'venv' if name[0] == 'V' else 'conda environment'}"
    if has_engine(Path(sys.prefix)):
        return RuntimeSpec("self"), "the Python that orch runs in, which has vLLM"
    return RuntimeSpec("requirements", requirements=(ENGINE,)), "built and owned by orch, for no active Python has vLLM"


def has_engine(prefix: Path) -> bool:
    return (prefix / "bin" / "vllm").is_file() or any(prefix.glob("lib/python3*/site-packages/vllm/__init__.py"))


def as_found(runtime: RuntimeSpec) -> RuntimeSpec:
    """A prefix that conda made is conda's, whatever the command looked like."""
    if runtime.kind == "venv" and (Path(runtime.where) / "conda-meta").is_dir():
        return RuntimeSpec("conda", runtime.where)
    return runtime


def environment_here(name: str, variables: Mapping[str, str]) -> tuple[Environment, str]:
    """A new one, from what this shell has; and why its runtime is the one."""
    runtime, why = runtime_here(variables)
    home = variables.get("HF_HOME") or None
    secrets = {"HF_TOKEN": SecretRef("env", "HF_TOKEN")} if variables.get("HF_TOKEN") else {}
    return Environment(name, runtime, hf_home=os.path.abspath(home) if home else None, secrets=secrets), why  # noqa: PTH100


# ------------------------------------------------------------------------------------------------------- the files


def check_profile_text(text: str, name: str) -> Profile:
    """As ``load`` reads it. Raises what it finds."""
    return _checked(text, name, lambda file: load_profile(file, os.environ))


def check_environment_text(text: str, name: str) -> Environment:
    variables = {**os.environ, "HOME": os.environ.get("HOME", "/")}
    return _checked(text, name, lambda file: load_environment(file, variables))


def _checked(text: str, name: str, load_it: Callable[[Path], T]) -> T:
    with tempfile.TemporaryDirectory(prefix="orch-init-") as folder:
        file = Path(folder) / f"{name}.yaml"
        file.write_text(text, encoding="utf-8")
        return load_it(file)


def write_new(file: Path, text: str, *, force: bool) -> None:
    """With the person's own permissions, for it is theirs. Raises InputError when it is there and not ``force``."""
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with file.open("w" if force else "x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise InputError(f"write {display(file)}", "it is there already", "--force replaces it") from None


def _same(a: Path, b: Path) -> bool:
    return os.path.realpath(a) == os.path.realpath(b)
