"""The facts of one environment: its runtime, what its engine would be given, and what the runtime's own Python says of
the driver with just that."""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.chain.facts import Engine, Entry, Home, Tools, Torch, Trial
from orchestrator.checkup.files import folder, names
from orchestrator.checkup.machine import version
from orchestrator.cuda import libcuda, trials
from orchestrator.cuda.mender import CudaReader
from orchestrator.engines import vllm
from orchestrator.environ import is_stubs
from orchestrator.errors import HostError, RuntimeFailure
from orchestrator.model import Deployment, Environment, ModelRef, Profile, RuntimeInfo, RuntimeState, Spec
from orchestrator.ports import Say
from orchestrator.resolve import resolve
from orchestrator.runtimes import conda
from orchestrator.runtimes.catalogue import RuntimeReader
from orchestrator.shell import CommandFailed, run

HEADERS = "import sysconfig; print(sysconfig.get_path('include'))"
HEADERS_TIMEOUT = 30.0  # seconds
TOOLKIT = Path("/usr/local/cuda")  # where torch and FlashInfer look last
PARTS = {
    "bin/nvcc": ("bin/nvcc",),
    "include/cuda.h": ("include/cuda.h", "targets/*/include/cuda.h"),
    "lib64": ("lib64", "lib", "targets/*/lib"),
}
"""What a well-formed CUDA_HOME has, and where: conda's packages keep it by target."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Readers, all of them. ``cache`` answers the Hub's cache of a spec; ``say`` hears of what takes seconds."""

    runtimes: RuntimeReader
    cuda: CudaReader
    cache: Callable[[Spec], str]
    variables: Mapping[str, str]
    say: Say


def wanted(environment: Environment) -> Deployment:
    """An engine of this environment, of which the model does not matter."""
    return resolve(Profile(environment.name, environment.name, ModelRef()), environment, {})


def look(environment: Environment, sources: Sources) -> Engine:
    spec = environment.runtime
    try:
        state, activation = _runtime(environment, sources)
    except OSError as error:  # it is another user's, or no path at all
        why = f"{error.filename or spec.label}: {(error.strerror or str(error)).lower()}"
        state, activation = RuntimeState("missing", f"{why}; name one that this user may run"), None
    deployment = wanted(environment)
    info = state.info
    device = vllm.device(spec, info)
    found = Engine(
        name=environment.name,
        runtime=spec,
        state=state,
        file=environment.source.file,
        device=device,
        libcuda=environment.libcuda,
        activation=activation,
        home=_home(environment, info),
        cache=folder("HF cache", sources.cache(deployment.spec)),
    )
    if info is None:
        return found
    found = replace(found, newest=_newest(Path(info.prefix)), path=_path(environment, info))
    found = replace(found, path_says=_says(environment, "LD_LIBRARY_PATH"))
    return _asked(found, deployment, info, sources) if device in {"cuda", ""} else found


def _runtime(environment: Environment, sources: Sources) -> tuple[RuntimeState, Trial | None]:
    """Looked into like a start does, and nothing of it remembered. The activation is evaluated in any case."""
    spec, activation = environment.runtime, None
    state = sources.runtimes.state(spec)
    if spec.kind == "conda":
        try:
            prefix, _ = sources.runtimes.locate(spec)
        except RuntimeFailure:
            return state, None
        try:
            conda.activation(prefix, sources.variables)
            count = len(conda.activation_scripts(prefix))
            activation = Trial(True, f"{count} {'script' if count == 1 else 'scripts'} of activate.d evaluated")
        except RuntimeFailure as error:
            broken = RuntimeState("ready", "its activation fails")
            return broken, Trial(False, str(prefix / "etc/conda/activate.d"), error.why)
    if state.status != "ready" or state.info:
        return state, activation
    try:
        return RuntimeState("ready", info=sources.runtimes.look(spec, sources.say)), activation
    except RuntimeFailure as error:
        return RuntimeState("missing", f"{error.why}; {error.do}"), activation


def _asked(found: Engine, deployment: Deployment, info: RuntimeInfo, sources: Sources) -> Engine:
    reader = sources.cuda
    laid = reader.laid(deployment.environment)
    env = reader.environment(deployment, info, laid)
    found = replace(found, laid=laid, tools=_tools(env, info))
    if not info.torch:
        return replace(found, untested="the runtime holds no torch", torch=Torch(why="it is not installed"))
    found = _tried(found, deployment, info, reader)
    sources.say(f"asking the runtime's own torch ({deployment.environment}), which takes some seconds")
    answer = trials.torch_view(info.python, {**env, "PYTHONDONTWRITEBYTECODE": "1"})
    places = reader.places_of(deployment, info)
    folders, none = trials.triton_folders(env, libcuda.listing(places), places.ldconfigs[0])
    return replace(
        found,
        triton=str(answer.get("triton") or ""),
        triton_looks=none or f"looked for in {', '.join(folders)}",
        torch=Torch(
            version=str(answer.get("torch") or ""),
            cuda=str(answer.get("torch_cuda") or ""),
            available=bool(answer.get("available")),
            devices=int(answer.get("devices") or 0),
            why=" ".join(str(answer.get("torch_why") or answer.get("why") or "").split()),
        ),
    )


def _tried(found: Engine, deployment: Deployment, info: RuntimeInfo, reader: CudaReader) -> Engine:
    """Really loaded and really linked."""
    tested = reader.findings(deployment, info)
    mend, refused = None, ""
    try:
        mend = reader.mend(deployment, info)
    except HostError as error:
        refused = f"{error.why}; {error.do}"
    made = [(one.name, Trial(one.ok, one.what, one.why)) for one in tested.trials]
    return replace(
        found,
        candidates=tuple(one.path for one in tested.candidates if one.good),
        rejected=tuple(f"{one.path}: {one.why}" for one in tested.candidates if not one.good),
        load=next((trial for name, trial in made if name == "load"), None),
        links=tuple(trial for name, trial in made if name != "load"),
        mend=mend,
        refused=refused,
    )


# ------------------------------------------------------------------------------------------------------ CUDA_HOME etc.


def _home(environment: Environment, info: RuntimeInfo | None) -> Home | None:
    given = {**(info.env if info else {}), **environment.env}
    path, says = environment.cuda_home, environment.source.at("cuda", "home")
    for name in ("CUDA_HOME", "CUDA_PATH"):
        if name in environment.env or not path:
            path, says = given.get(name) or path, _says(environment, name) if given.get(name) else says
    if not path:
        return None
    place = Path(path)
    if ":" in path or not os.path.isdir(path):  # noqa: PTH112 (never raises)
        return Home(path, says, exists=":" in path)
    lacks = tuple(part for part, ways in PARTS.items() if not any(next(place.glob(way), None) for way in ways))
    return Home(path, says, lacks=lacks, version=version(place))


def _says(environment: Environment, name: str) -> str:
    """Who gives the engine this variable."""
    if name in environment.env:
        return environment.source.at("env", name)
    return "the activation of the conda environment"


def _tools(env: Mapping[str, str], info: RuntimeInfo) -> Tools:
    path = env.get("PATH", "")
    home = Path(trials.toolkit(env) or TOOLKIT) / "bin/nvcc"
    nvcc = str(home) if os.access(home, os.X_OK) else shutil.which("nvcc", path=path)
    compiler = trials.compiler(env)
    return Tools(
        nvcc=nvcc or "",
        ninja=shutil.which("ninja", path=path) or "",
        compiler=(compiler and shutil.which(compiler, path=path)) or "",
        headers=_headers(env, info),
    )


def _headers(env: Mapping[str, str], info: RuntimeInfo) -> str | None:
    try:
        said = run([info.python, "-c", HEADERS], env=env, timeout=HEADERS_TIMEOUT).stdout.strip()
    except CommandFailed:
        return None
    return said if os.path.isfile(f"{said}/Python.h") else ""  # noqa: PTH113 (never raises)


def _path(environment: Environment, info: RuntimeInfo) -> tuple[Entry, ...]:
    """LD_LIBRARY_PATH as the files have it, before orch puts it in order."""
    given = {**info.env, **environment.env}.get("LD_LIBRARY_PATH", "")
    own = {os.path.realpath(one) for one in info.libraries}
    libraries = {name for one in own for name in names(Path(one)) if ".so" in name}
    return tuple(_entry(one, own, libraries) for one in given.split(":")) if given else ()


def _entry(one: str, own: set[str], libraries: set[str]) -> Entry:
    if not one or is_stubs(one):
        return Entry(one)
    if not os.path.isdir(one):  # noqa: PTH112 (never raises)
        return Entry(one, exists=False)
    shadows = () if os.path.realpath(one) in own else tuple(sorted(libraries & set(names(Path(one)))))
    return Entry(one, shadows=shadows)


def _newest(prefix: Path) -> float:
    """When something was last installed there."""
    times = [0.0]
    for place in (prefix / "conda-meta", *prefix.glob("lib/python3*/site-packages")):
        try:
            times.append(place.stat().st_mtime)
        except OSError:
            continue
    return max(times)
