"""uv, called: its environment, its arguments for a RuntimeSpec, and its failures in words a person can act on."""

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from orchestrator.errors import RuntimeFailure
from orchestrator.model import RuntimeSpec
from orchestrator.runtimes import pipconf
from orchestrator.shell import CommandFailed, run

# Another Python's; or about a project, which a runtime is not; or would let in what nobody named.
FOREIGN = frozenset(
    {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "CONDA_PREFIX"}
    | {"UV_PYTHON", "UV_SYSTEM_PYTHON", "UV_PROJECT", "UV_WORKING_DIR"}
    | {"UV_NO_VERIFY_HASHES", "UV_VENV_SEED"}
)
CHOICE = frozenset({"UV_CONSTRAINT", "UV_OVERRIDE", "UV_EXCLUDE"})
"""Have a say while packages are chosen. Of an exact set they would replace or leave out some."""
REASON_LIMIT = 900  # characters

CHATTER = (" + ", " - ", " ~ ", "Activate with", "Using Python")  # a line a package, 150 for vllm; and the obvious
COMPLAINT = re.compile(r"\s*(error|\u00d7)")

UNREACHABLE = re.compile(r"failed to fetch|error sending request|dns error|tcp connect error|timed out", re.I)
DISK_FULL = re.compile(r"no space left on device|os error 28|disk quota exceeded", re.I)
NO_PYTHON = re.compile(r"no interpreter found|no python (installation|download)", re.I)
LOCAL_TORCH = re.compile(r"\btorch(?:vision|audio)?(?:\{[^}]*\})?==[\w.]+\+(\w+)")


def program() -> str:
    """The uv that was installed with orch, else the one on PATH."""
    try:
        import uv

        return str(uv.find_uv_bin())
    except (ImportError, FileNotFoundError):
        found = shutil.which("uv")
    if found is None:
        raise RuntimeFailure("build the runtime", "uv is not installed", "run `pip install uv` where orch is installed")
    return found


class Uv:
    """uv for one spec. ``workdir`` is a folder of its own for files and as uv's current folder, so that no
    pyproject.toml near the caller has a say. ``variables`` is the caller's environment."""

    def __init__(self, spec: RuntimeSpec, variables: Mapping[str, str], workdir: Path) -> None:
        self.spec, self.workdir = spec, workdir
        self.configured = pipconf.read(variables)
        self.env = environment(spec, variables, self.configured)
        self.program = program()
        self.torch_backend, self.remark = torch_backend(spec, _folders(spec, self.configured))

    def __call__(self, *args: str, on_line: Callable[[str], None] | None = None, exact: bool = False) -> str:
        """stdout. ``on_line`` hears uv's progress; ``exact`` says that nothing is left to choose. Raises RuntimeFailure
        with uv's own reason."""
        failing = False

        def hear(line: str) -> None:
            nonlocal failing
            failing = failing or bool(COMPLAINT.match(line))
            if on_line and line.strip() and not failing and not line.startswith(CHATTER):
                on_line(redact(line.strip()))

        try:
            env = {name: value for name, value in self.env.items() if not (exact and name in CHOICE)}
            return run([self.program, *args], env=env, cwd=self.workdir, on_line=hear).stdout
        except CommandFailed as error:
            raise RuntimeFailure(f"build the runtime ({self.spec.label})", *self._explain(error)) from error

    def sources(self) -> list[str]:
        """The arguments that say where packages come from, as far as no variable can."""
        args = ["--torch-backend", self.torch_backend] if self.torch_backend else []
        return [*args, *(["--no-index"] if self.configured.no_index else [])]

    def file(self, name: str, lines: Sequence[str]) -> str:
        path = self.workdir / name
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return str(path)

    def limits(self) -> list[str]:
        """--constraint and --override. On the command line they hide uv's variables, so those are repeated."""
        args: list[str] = []
        for option, lines in (("constraint", self.spec.constraints), ("override", self.spec.overrides)):
            files = [self.file(f"{option}.txt", lines)] if lines else []
            for file in [*files, *self.env.get(f"UV_{option.upper()}", "").split()]:
                args += [f"--{option}", file]
        return args

    def _explain(self, error: CommandFailed) -> tuple[str, str]:
        why = reason(error.tail) or error.why
        return why, advice(why, self.torch_backend)


def environment(spec: RuntimeSpec, variables: Mapping[str, str], configured: pipconf.UvSettings) -> dict[str, str]:
    env = {name: value for name, value in variables.items() if name not in FOREIGN}
    env |= {**configured.env, "NO_COLOR": "1", "UV_NO_PROGRESS": "1"}
    if spec.find_links:
        env["UV_FIND_LINKS"] = ",".join([*spec.find_links, *configured.find_links])
    if spec.index:  # the file names them all, so neither pip's configuration nor a default joins in
        for name in ("UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_INDEX_URL", "UV_INDEX_STRATEGY"):
            env.pop(name, None)
        env["UV_DEFAULT_INDEX"] = spec.index[-1]
        env |= {"UV_INDEX": " ".join(spec.index[:-1])} if spec.index[1:] else {}
        env |= {k: variables[k] for k in ("UV_INDEX_STRATEGY",) if variables.get(k)}
    return env


def torch_backend(spec: RuntimeSpec, folders: Sequence[Path]) -> tuple[str, str]:
    """What to pass as --torch-backend, and a remark for the person. With it uv takes torch from one index on the
    network only, so a suitable wheel that someone put into a configured folder would be passed over."""
    if not spec.torch_backend:
        return "", ""
    for folder in folders:
        for wheel in sorted(folder.glob("torch-*.whl")):
            local = wheel.name.split("-")[1].replace("%2B", "+").partition("+")[2]
            if local in ("", spec.torch_backend) or spec.torch_backend == "auto":
                return "", f"torch comes from {wheel}, so torch_backend {spec.torch_backend} is left out"
    return spec.torch_backend, ""


def reason(tail: Sequence[str]) -> str:
    """uv's complaint without its progress before it, on one line, passwords in URLs blanked."""
    start = next((n for n, line in enumerate(tail) if COMPLAINT.match(line)), len(tail))
    lines = [re.sub(r"^[\s\u00d7│╰─▶^]*(error: |cause: |hint: )?", "", line).strip() for line in tail[start:]]
    text = redact(re.sub(r"\.: ", ". ", ": ".join(line for line in lines if line))).rstrip(".")
    return text if len(text) <= REASON_LIMIT else text[:REASON_LIMIT] + " ..."


def redact(text: str) -> str:
    return re.sub(r"(\w://)[^/\s@]+@", r"\1***@", text)


def advice(why: str, backend: str) -> str:
    if DISK_FULL.search(why):
        return "free some space, or set UV_CACHE_DIR and orch's data folder to a disk that has it"
    if UNREACHABLE.search(why) and backend:
        return (
            f"torch_backend {backend} needs PyTorch's own index: make it reachable (HTTPS_PROXY), or put a torch wheel "
            "for it into a folder that find_links names, or name a mirror under index and leave torch_backend out"
        )
    if UNREACHABLE.search(why):
        return "make the index reachable (HTTPS_PROXY, `pip config list`), or name another one under runtime.index"
    if NO_PYTHON.search(why):
        return "set runtime.python to one that is installed (`uv python list` shows them)"
    if (torch := LOCAL_TORCH.search(why)) and not backend:
        return f"set runtime.torch_backend: {torch[1]}, or let find_links name a folder that holds that torch wheel"
    return "change the environment's requirements, constraints or overrides, or where packages come from"


def _folders(spec: RuntimeSpec, configured: pipconf.UvSettings) -> list[Path]:
    places = (pipconf.local_path(place) for place in (*spec.find_links, *configured.find_links))
    return [Path(place) for place in places if place]
