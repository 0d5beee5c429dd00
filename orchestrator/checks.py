"""What is wrong with a document beyond its schema. Each check adds to the findings and tolerates any shape of value,
so that one run tells a person everything.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.engines.vllm import flag_name
from orchestrator.findings import Findings, shown
from orchestrator.hub_names import OLD, old_name
from orchestrator.model import Json, Path
from orchestrator.units import parse_duration, parse_size

_AMBIGUOUS = frozenset(("y", "n", "yes", "no", "on", "off"))
_REPO_PART = r"\w(?:[\w.-]{0,94}\w)?"
_REPO = re.compile(rf"(?![^:]*(?:--|\.\.|\.git(?::|\Z))){_REPO_PART}(?:/{_REPO_PART}(?::[\w.-]+)?)?", re.ASCII)
"""As huggingface_hub's validate_repo_id has it; then, as vLLM has it, which of a GGUF repository's models."""
_HOST = re.compile(r"[A-Za-z0-9.:_%-]+")
_CREDENTIALS = re.compile(r"https?://[^/?#\s]*@|://[^/?#\s@]*:[^/?#\s]*@", re.IGNORECASE)
"""Over ssh a bare name (git@) is no secret; over HTTP it is often a token."""
_SECRET = re.compile(r"(?:.*_)?(?:TOKEN|API_KEY|SECRET|SECRET_ACCESS_KEY|PASSWORD)")

_IN_A_SECRET = "in the environment: a command line is visible to every user"
_ORCH_OWNS = {
    "model": "use model.repo or model.path",
    "served_model_name": "use serve.names",
    "host": "use serve.host",
    "port": "use serve.port",
    "tensor_parallel_size": "use serve.tensor_parallel_size",
    "pipeline_parallel_size": "use serve.pipeline_parallel_size",
    "max_model_len": "use serve.max_model_len",
    "gpu_memory_utilization": "use serve.gpu_memory_utilization",
    "quantization": "use model.quantization",
    "revision": "use model.revision",
    "shutdown_timeout": "use drain",
    "api_key": f"use secrets: VLLM_API_KEY {_IN_A_SECRET}",
    "hf_token": f"use secrets: HF_TOKEN {_IN_A_SECRET}",
    "download_dir": "use cache.hf_home in the environment",
}


def is_repo(text: str) -> bool:
    """Whether this could be a repository on the Hub, with or without :QUANT."""
    return bool(_REPO.fullmatch(text))


def look(value: Json, *path: str) -> Any:
    """What stands at ``path``, or None."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def section(value: Json, *path: str) -> dict[str, Any]:
    """The section at ``path``, empty when there is none."""
    found = look(value, *path)
    return found if isinstance(found, dict) else {}


def check_profile(value: Json, plain: Mapping[Path, str], findings: Findings) -> None:
    _flags(section(value, "serve", "args"), findings)
    _booleans(value, plain, findings)
    for path in (("readiness", "timeout"), ("drain",)):
        _quantity(value, path, parse_duration, findings)
    timeout = ("readiness", "timeout")
    if timeout not in findings.paths and look(value, *timeout) in (0, "0", "0s"):
        findings.add(timeout, "nothing is ready in no time", "write for example timeout: 20m", code="wrong-value")
    repo_wants = "a repository on the Hub, OWNER/NAME or OWNER/NAME:QUANT (a folder goes under model.path)"
    _text(value, ("model", "repo"), _REPO, repo_wants, findings)
    _text(value, ("serve", "host"), _HOST, "an address such as 127.0.0.1", findings)
    gpus = look(value, "gpus")
    if isinstance(gpus, list) and len({str(gpu) for gpu in gpus}) < len(gpus):
        findings.add(("gpus",), "the same GPU is listed twice", "remove one of the two", code="duplicate-value")


def check_environment(value: Json, stem: str, findings: Findings) -> None:
    """``stem`` is the file's name without its ending."""
    _quantity(value, ("host", "gpus", "memory"), parse_size, findings)
    lines, path = look(value, "runtime", "requirements"), ("runtime", "requirements")
    if lines == [] and path not in findings.paths:
        findings.add(path, "the list comes out empty", "set a variable in it, or write a line", code="empty-value")
    _credentials(section(value, "runtime"), findings)
    name = look(value, "name")
    if isinstance(name, str) and name != stem and ("name",) not in findings.paths:
        why = f"it is {shown(name)} and the file is called {stem}"
        findings.add(("name",), why, "make them equal", code="name-mismatch")
    for where in ("env", "secrets"):
        for name in section(value, where):
            if name.startswith("ORCH_") or name == "SPT_NOENV":
                why = "orch finds its processes again by it"
                findings.add((where, name), why, "leave it out", code="reserved-variable")
            elif name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
                why = "orch sets it, for each profile"
                findings.add((where, name), why, "use gpus in the profile", code="reserved-variable")
    for name in section(value, "env"):
        if name in section(value, "secrets"):
            findings.add(("env", name), "it is under secrets too", "remove one of the two", code="duplicate-variable")
        elif _SECRET.fullmatch(name):
            today = OLD[name].today if name in OLD else name
            do = f"move it to secrets: {{{today}: {{env: {name}}}}}"
            why = "a secret does not belong in a file whose values are shown and recorded"
            findings.add(("env", name), why, do, code="secret-in-env")
    _old_names(value, findings)


def _old_names(value: Json, findings: Findings) -> None:
    given = {where: section(value, where) for where in ("env", "secrets")}
    for where, names in given.items():
        for name, written in names.items():
            if old := old_name(name, str(written) if where == "env" else None):
                also = old.today in given["env"].keys() | given["secrets"].keys()
                do = f"remove it: {old.today} is given, too" if also else old.do
                findings.warn((where, name), f"is an old name{old.what}", do, code="old-name")


def _credentials(runtime: Mapping[str, Json], findings: Findings) -> None:
    """Plans, records and messages show these values."""
    for key, lines in runtime.items():
        for place, line in enumerate(lines if isinstance(lines, list) else ()):
            if isinstance(line, str) and _CREDENTIALS.search(line):
                do = "keep it in ~/.netrc, pip.conf or UV_INDEX_NAME_PASSWORD, which pip and uv read by themselves"
                why = "the URL holds a user name or a password"
                findings.add(("runtime", key, place), why, do, code="credentials-in-url")


def _flags(args: Mapping[str, Json], findings: Findings) -> None:
    seen: dict[str, str] = {}
    for key in args:
        flag, path = flag_name(key), ("serve", "args", key)
        if flag in _ORCH_OWNS:
            findings.add(path, "orch sets this flag itself", _ORCH_OWNS[flag], code="owned-flag")
        elif flag in seen:
            why = f"it is the same flag as {seen[flag]}"
            findings.add(path, why, "remove one of the two", code="duplicate-flag")
        seen.setdefault(flag, key)


def _booleans(value: Json, plain: Mapping[Path, str], findings: Findings) -> None:
    """YAML 1.1 reads a bare ``no`` as false and YAML 1.2 as text; the engine would take the text and go wrong late."""
    for path, word in plain.items():
        if path[:2] == ("serve", "args") and word.lower() in _AMBIGUOUS:
            why = f"{word} is text in YAML 1.2 and a truth value in YAML 1.1"
            findings.add(path, why, "write true or false, or quote it", code="ambiguous-boolean")


def _quantity(value: Json, path: tuple[str, ...], read: Callable[[object], float], findings: Findings) -> None:
    given = look(value, *path)
    if given is None or path in findings.paths:
        return
    try:
        read(given)
    except ValueError as error:
        findings.add(path, str(error), code="wrong-value")


def _text(value: Json, path: tuple[str, ...], pattern: re.Pattern[str], wants: str, findings: Findings) -> None:
    given = look(value, *path)
    if isinstance(given, str) and path not in findings.paths and not pattern.fullmatch(given):
        findings.add(path, f"{shown(given)} is not {wants}", code="wrong-value")
