"""Conda environments without conda: a name or a folder becomes a prefix, and activation becomes variables.

conda itself need not be on PATH, and no shell stands between orch and the engine: the activation scripts are run once,
and what they changed is kept as data.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from orchestrator.errors import RuntimeFailure
from orchestrator.runtimes.inspect import clean_env
from orchestrator.shell import CommandFailed, run

INSTALLERS = ("miniconda3", "anaconda3", "miniforge3", "mambaforge", "micromamba", "conda")
SHELLS_OWN = frozenset({"_", "PWD", "OLDPWD", "SHLVL", "BASH_EXECUTION_STRING"})
ACTIVATION_TIMEOUT = 60.0  # seconds
MARK = "::orch-activation::"

# Each script's own output goes away; marks on stderr tell which script said what, and how it ended. `env -0` comes
# last, so that a script that leaves the shell leaves no environment behind either.
ACTIVATE = f"""
for script in "$@"; do
  printf '%s begin %s\\n' '{MARK}' "$script" >&2
  . "$script" >/dev/null </dev/null
  printf '\\n%s end %s\\n' '{MARK}' "$?" >&2
done
command -p env -0
"""


def find(where: str, variables: Mapping[str, str]) -> Path:
    """The prefix of the environment with that name or folder. Reads folders only. Raises RuntimeFailure."""
    home = Path(variables.get("HOME") or Path.home())
    if "/" in where:
        prefix = home / where[2:] if where.startswith("~/") else Path(where)
        if is_prefix(prefix):
            return prefix
        raise RuntimeFailure(
            f"use the conda environment {where}",
            "it is not one (bin/python and conda-meta/ are expected in it)" if prefix.is_dir() else "no such folder",
            f"make it: `conda create -p {where} python`",
        )
    for prefix in candidates(where, variables, home):
        if is_prefix(prefix):
            return prefix
    raise RuntimeFailure(
        f"find the conda environment {where}",
        f"no conda installation found here has an environment called {where}",
        "`conda env list` shows what there is; name it by its full path",
    )


def is_prefix(folder: Path) -> bool:
    try:
        return (folder / "conda-meta").is_dir() and (folder / "bin/python").exists()
    except OSError:  # closed to this user
        return False


def candidates(name: str, variables: Mapping[str, str], home: Path) -> Iterator[Path]:
    """Where an environment of that name could be, in conda's own order as far as it can be known without conda."""
    roots = list(_roots(variables, home))
    if name in ("base", "root"):
        yield from roots
    for folder in _env_folders(variables, home):
        yield folder / name
    for root in roots:
        yield root / "envs" / name
    for line in _lines(home / ".conda/environments.txt"):
        if Path(line).name == name:
            yield Path(line)


def activation(prefix: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """The variables that activating the environment sets: `conda env config vars`, then etc/conda/activate.d/*.sh as
    bash evaluates them. A variable that a script removes is not told. Raises RuntimeFailure naming the script."""
    chosen = {"CONDA_PREFIX": str(prefix), **_config_vars(prefix)}
    scripts = activation_scripts(prefix)
    if not scripts:
        return chosen
    before = {**clean_env(variables, prefix / "bin/python", chosen), "CONDA_DEFAULT_ENV": prefix.name}
    argv = ["bash", "--noprofile", "--norc", "-c", ACTIVATE, "bash", *(str(script) for script in scripts)]
    try:
        done = run(argv, env=before, timeout=ACTIVATION_TIMEOUT)
    except CommandFailed as error:
        raise _failure(prefix, *(_complaint("\n".join(error.tail)) or ("", error.why))) from error
    after = dict(item.split("=", 1) for item in done.stdout.split("\0") if "=" in item)
    complaint = _complaint(done.stderr)
    if complaint or not after:
        raise _failure(prefix, *(complaint or ("", "the environment could not be read after it")))
    return chosen | {k: v for k, v in after.items() if k not in SHELLS_OWN and before.get(k) != v}


def activation_scripts(prefix: Path) -> Sequence[Path]:
    return sorted((prefix / "etc/conda/activate.d").glob("*.sh"))


def activation_files(prefix: Path) -> Sequence[Path]:
    """Whatever ``activation`` depends on: when one of these changes, it is to be evaluated anew."""
    return [prefix / "conda-meta/state", prefix / "etc/conda/activate.d", *activation_scripts(prefix)]


def _complaint(stderr: str) -> tuple[str, str] | None:
    """(script, why) of the first script that failed. A status other than 0 alone is none: conda ignores it, and a
    script that ends with an unmet `[ ... ] && ...` has one. Words on stderr beside it, or no end, are."""
    for part in stderr.split(f"{MARK} begin ")[1:]:
        script, _, rest = part.partition("\n")
        said, ended, status = rest.partition(f"{MARK} end ")
        words = " ".join(said.split())
        if not ended:
            return script, words or "it ends the shell"
        if status.split()[0] != "0" and words:
            return script, words
    return None


def _failure(prefix: Path, script: str, why: str) -> RuntimeFailure:
    what = f"activate the conda environment {prefix}"
    return RuntimeFailure(what, f"{script}: {why}" if script else why, "mend the script, or name the environment's own")


def _config_vars(prefix: Path) -> dict[str, str]:
    try:
        held = json.loads((prefix / "conda-meta/state").read_text())["env_vars"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {str(k): str(v) for k, v in dict(held).items() if v != "***unset***"}


def _roots(variables: Mapping[str, str], home: Path) -> Iterator[Path]:
    """Installations of conda itself, the one the caller uses first."""
    if program := variables.get("CONDA_EXE"):
        yield Path(program).parent.parent
    for name in ("MAMBA_ROOT_PREFIX", "CONDA_ROOT", "CONDA_PREFIX"):
        if place := variables.get(name):
            inner = Path(place)
            yield inner.parent.parent if inner.parent.name == "envs" else inner
    for top in (home, Path("/opt")):
        yield from (top / name for name in INSTALLERS)


def _env_folders(variables: Mapping[str, str], home: Path) -> Iterator[Path]:
    for name in ("CONDA_ENVS_PATH", "CONDA_ENVS_DIRS"):
        yield from (Path(place) for place in variables.get(name, "").split(":") if place)
    yield from (home / place[2:] if place.startswith("~/") else Path(place) for place in _condarc(home / ".condarc"))
    yield home / ".conda/envs"


def _condarc(file: Path) -> Iterator[str]:
    """The items of ``envs_dirs``, written one a line or in brackets; anything cleverer is not looked at."""
    inside = False
    for line in _lines(file):
        if line.startswith("envs_dirs:"):
            inside = True
            yield from re.findall(r"[^\[\],\s'\"]+", line.partition(":")[2])
        elif inside and line.startswith("-"):
            yield line[1:].strip().strip("'\"")
        else:
            inside = False


def _lines(file: Path) -> list[str]:
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
