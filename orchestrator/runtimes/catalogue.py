"""The runtimes of this host, read (``RuntimeReader``: folders and JSON files, nothing else) or made to be there
(``Runtimes``: builds, looks inside by running the runtime's own Python, and remembers what it saw)."""

import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from orchestrator import engine_data
from orchestrator.codec import from_file, to_json
from orchestrator.engines.knowledge import Engine
from orchestrator.engines.versions import nearest, order
from orchestrator.errors import RuntimeFailure
from orchestrator.files import read_json, write_json
from orchestrator.lockfile import EMPTY, Lock
from orchestrator.model import Json, RuntimeInfo, RuntimeSpec, RuntimeState
from orchestrator.ports import Say
from orchestrator.runtimes import build, conda, inspect
from orchestrator.runtimes.flags import ask
from orchestrator.shell import CommandFailed, run

PARSE_TIMEOUT = 180.0  # seconds; 7 to 17 are usual, and a cold disk takes its time
QUIET = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR"}


class RuntimeReader:
    """``data_dir`` holds the runtimes that orch built, ``cache_dir`` what was learnt about others and may be deleted,
    ``variables`` is the caller's environment, ``lock`` the project's orch.lock, read when it is needed."""

    def __init__(
        self, data_dir: Path, cache_dir: Path, variables: Mapping[str, str], lock: Callable[[], Lock] = lambda: EMPTY
    ) -> None:
        self.data_dir, self.cache_dir, self.variables, self.lock = data_dir, cache_dir, variables, lock
        self._engines: dict[str, Engine | None] = {}

    def state(self, spec: RuntimeSpec) -> RuntimeState:
        """Starts no process, writes nothing, uses no network. A runtime of the user's that is there but was never
        looked into is ready with ``info`` None."""
        if spec.kind == "requirements":
            return self._built(spec)
        try:
            prefix, python = self.locate(spec)
        except RuntimeFailure as error:
            return RuntimeState("missing", f"{error.why}; {error.do}")
        if not _holds_vllm(spec, prefix):
            return RuntimeState("missing", f"no vllm is installed in {prefix}; `uv pip install -p {python} vllm` does")
        return RuntimeState("ready", info=self._remembered(spec, prefix, python))

    def locate(self, spec: RuntimeSpec) -> tuple[Path, Path]:
        """(prefix, python) of an existing installation. Raises RuntimeFailure when it is not there."""
        if spec.kind == "self":
            return Path(sys.prefix), Path(sys.executable)
        if spec.kind == "conda":
            prefix = conda.find(spec.where, self.variables)
            return prefix, prefix / "bin/python"
        home = self.variables.get("HOME") or str(Path.home())
        prefix = Path(home, spec.where[2:]) if spec.where.startswith("~/") else Path(spec.where).absolute()
        if not _can_see(prefix / "bin/python"):
            why = f"{prefix} has no bin/python" if prefix.is_dir() else f"there is no folder {prefix}"
            raise RuntimeFailure(f"use the runtime {spec.label}", why, f"make it: `uv venv {prefix}`, and install vllm")
        return prefix, prefix / "bin/python"

    def engine(self, info: RuntimeInfo) -> Engine | None:
        """What its version takes, from a file on this disk."""
        if info.key not in self._engines:
            shipped = engine_data.shipped()
            name = nearest(info.version, shipped)
            told = engine_data.load(engine_data.remembered(self.told, info.key))
            self._engines[info.key] = told or (engine_data.load(shipped[name]) if name else None)
        return self._engines[info.key]

    @property
    def told(self) -> Path:
        """Where the answers of engines about their command lines are kept."""
        return self.cache_dir / "engines"

    def look(self, spec: RuntimeSpec, say: Say) -> RuntimeInfo:
        """What is installed in an existing runtime, as its own Python tells. Remembers nothing. Raises
        RuntimeFailure."""
        prefix, python = self.locate(spec)
        say(f"looking into the runtime {spec.label}")
        extra = conda.activation(prefix, self.variables) if spec.kind == "conda" else {}
        description = inspect.describe(python, self.variables, extra)
        key = inspect.key(spec.kind, prefix, description["version"] or "")
        return inspect.engine(description, python, prefix, key, extra)

    def _built(self, spec: RuntimeSpec) -> RuntimeState:
        resolution = build.remembered(self.data_dir, spec, self.lock() if spec.lock else EMPTY)
        key = resolution.key if resolution else spec.lock
        if key and (info := build.completed(self.data_dir, key)):
            # Described by an older orch, less is known of it than is asked now: it is looked at when it is used.
            return RuntimeState("ready", info=info if build.is_described(self.data_dir, info.key) else None)
        if resolution is None and spec.lock:
            return RuntimeState("missing", build.UNKNOWN_SET)
        if not key or not build.folder(self.data_dir, key).exists():
            return RuntimeState("buildable", "not built yet")
        return RuntimeState("buildable", "an interrupted build, to be built again")

    def _remembered(self, spec: RuntimeSpec, prefix: Path, python: Path) -> RuntimeInfo | None:
        held = read_json(self._memory(spec, prefix)) or {}
        return from_file(RuntimeInfo, held.get("info")) if held.get("stamp") == _stamp(spec, prefix, python) else None

    def _memory(self, spec: RuntimeSpec, prefix: Path) -> Path:
        return self.cache_dir / "runtimes" / f"{inspect.slot(spec.kind, prefix)}.json"


class Runtimes(RuntimeReader):
    def ensure(self, spec: RuntimeSpec, say: Say) -> RuntimeInfo:
        """The runtime, built or looked into as needed; ``say`` hears about long work, from any thread. Raises
        RuntimeFailure."""
        if spec.kind == "requirements":
            return build.build(self.data_dir, spec, self.variables, say, self.lock() if spec.lock else EMPTY)
        state = self.state(spec)
        if state.status == "missing":
            raise RuntimeFailure(f"use the runtime {spec.label}", state.why)
        return state.info or self._describe(spec, say)

    def to_lock(self, spec: RuntimeSpec, say: Say, *, anew: bool) -> tuple[str, tuple[str, ...]]:
        """The python and the packages of a runtime that orch builds: those that are kept, or today's. Raises
        RuntimeFailure."""
        return build.to_lock(self.data_dir, spec, self.variables, say, anew=anew)

    def check_argv(self, info: RuntimeInfo, argv: Sequence[str], say: Say) -> str | None:
        """None when the engine's own parser takes the arguments, else its complaint. ``argv`` may begin with
        ``info.program`` or with what follows it. An engine whose parser cannot be reached takes everything, and ``say``
        hears so. A good answer is remembered: asking costs 10 s and more."""
        given = _engine_arguments(info, argv)
        memory = self.cache_dir / "argv" / f"{info.key}-{_digest(given)}.json"
        if (read_json(memory) or {}).get("ok") is True:
            return None
        answer = self._parse(info, given)
        if answer.get("ok") is True:
            self._remember(memory, {"ok": True})
        elif answer.get("ok") is False:
            return str(answer.get("error") or "the engine's parser refuses the arguments")
        else:
            say(f"the arguments could not be checked with the engine's own parser: {answer.get('why')}")
        return None

    def learn(self, info: RuntimeInfo, say: Say) -> None:
        known = (order(version) for version in engine_data.shipped())
        if order(info.version) in known or engine_data.load(engine_data.remembered(self.told, info.key)):
            return
        say(f"asking {info.engine} {info.version} once which flags it takes, which takes half a minute")
        try:
            self.snapshot(info)
        except RuntimeFailure as error:
            say(str(error))

    def snapshot(self, info: RuntimeInfo) -> Path:
        """The file in which its answer is kept. Raises RuntimeFailure."""
        file = engine_data.remembered(self.told, info.key)
        self._remember(file, ask(Path(info.python), self.variables, info.env))
        self._engines.pop(info.key, None)
        return file

    def _describe(self, spec: RuntimeSpec, say: Say) -> RuntimeInfo:
        prefix, python = self.locate(spec)
        stamp = _stamp(spec, prefix, python)  # taken before looking: a change meanwhile makes it look again
        info = self.look(spec, say)
        self._remember(self._memory(spec, prefix), {"info": to_json(info), "stamp": stamp})
        return info

    def _parse(self, info: RuntimeInfo, argv: Sequence[str]) -> Mapping[str, Json]:
        env = inspect.clean_env(self.variables, Path(info.python), {**QUIET, **info.env})
        try:
            done = run(
                [info.python, str(inspect.INSIDE / "parse_argv.py")],
                env=env,
                timeout=PARSE_TIMEOUT,
                stdin=json.dumps(list(argv)),
            )
            return dict(json.loads(done.stdout.strip().rpartition("\n")[2]))
        except CommandFailed as error:
            return {"ok": None, "why": error.why}
        except ValueError:
            return {"ok": None, "why": "no answer"}

    def _remember(self, file: Path, value: Json) -> None:
        """A cache that cannot be written costs time later and nothing else."""
        try:
            write_json(file, value)
        except OSError:
            return


def _can_see(file: Path) -> bool:
    """False, too, for what lies in a folder that is closed to this user."""
    try:
        return file.exists()
    except OSError:
        return False


def _engine_arguments(info: RuntimeInfo, argv: Sequence[str]) -> list[str]:
    """What the parser sees: ["serve", MODEL, ...] or ["--model", MODEL, ...]."""
    given = list(argv)
    if tuple(given[: len(info.program)]) == info.program:
        given = given[len(info.program) :]
    return ["serve", *given] if info.style == "serve" and given[:1] != ["serve"] else given


def _holds_vllm(spec: RuntimeSpec, prefix: Path) -> bool:
    patterns = ("vllm*.dist-info", "vllm*.egg-info", "vllm*.egg-link")
    return any(next(place.glob(pattern), None) for place in _site_folders(spec, prefix) for pattern in patterns)


def _site_folders(spec: RuntimeSpec, prefix: Path) -> list[Path]:
    """Where that Python keeps packages, as far as its folders tell; a virtual environment may see its base's too."""
    if spec.kind == "self":
        return [Path(entry) for entry in sys.path if entry.endswith("-packages")]
    prefixes = [prefix, *_base(prefix)]
    found = [place for root in prefixes for lib in ("lib", "lib64", "local/lib") for place in _sites(root / lib)]
    return list(dict.fromkeys(place.resolve() for place in found))


def _sites(lib: Path) -> list[Path]:
    return sorted([*lib.glob("python3*/site-packages"), *lib.glob("python3*/dist-packages")])


def _base(prefix: Path) -> list[Path]:
    """The base installation of a virtual environment that was made with --system-site-packages."""
    try:
        lines = (prefix / "pyvenv.cfg").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    config = {name.strip().lower(): value.strip() for name, _, value in (line.partition("=") for line in lines)}
    shared = config.get("include-system-site-packages", "").lower() == "true"
    return [Path(config["home"]).parent] if shared and config.get("home") else []


def _stamp(spec: RuntimeSpec, prefix: Path, python: Path) -> Json:
    """Changes when something is installed there, when its Python is another one, or when its activation changes."""
    watched = _site_folders(spec, prefix)
    if spec.kind == "conda":
        watched = [*watched, *conda.activation_files(prefix)]
    seen = ([str(place), place.stat().st_mtime_ns] for place in watched if place.exists())
    return [inspect.SCHEMA, str(python.resolve()), *seen]


def _digest(argv: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(list(argv)).encode()).hexdigest()[:24]
