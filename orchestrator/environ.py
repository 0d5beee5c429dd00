"""The child's environment as data: a fixed baseline, then the runtime, then the files.

Nothing is inherited from whatever shell called orch beyond the baseline, so that a restart by anything else starts
exactly the same engine.
"""

from collections.abc import Iterable, Mapping

from orchestrator.codec import write_spec
from orchestrator.model import Laid, Marker, Placement, RuntimeInfo, Spec

MARK = "ORCH_MARK"
SPEC = "ORCH_SPEC"
VISIBLE = "CUDA_VISIBLE_DEVICES"

BASELINE = (
    "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TMPDIR", "TZ",
    "http_proxy", "https_proxy", "no_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
)  # fmt: skip
"""Names taken over from the caller: who and where one is, and how the network is reached."""

SYSTEM_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


def baseline(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: variables[name] for name in BASELINE if name in variables}


def join_path(folders: Iterable[str]) -> str:
    """Each folder once, in order. An empty entry would mean the current folder, so none is left."""
    return ":".join(dict.fromkeys(folder for folder in folders if folder))


def write_marker(marker: Marker) -> str:
    return "/".join((marker.project, marker.name, marker.attempt, marker.owner))


def read_marker(text: str) -> Marker | None:
    match text.split("/"):
        case [project, name, attempt, owner] if project and name and attempt:
            return Marker(project, name, attempt, owner)
    return None


def child(
    base: Mapping[str, str],
    runtime: RuntimeInfo,
    spec: Spec,
    marker: Marker,
    placement: Placement | None = None,
    laid: Laid | None = None,
) -> dict[str, str]:
    """Everything but the secrets' values. The user's ``env`` has the last word except over the marker, by which orch
    finds its processes again, and over the order in which libraries are looked for."""
    env = unmarked(base, runtime, spec, placement, laid)
    env["SPT_NOENV"] = "1"  # else setproctitle erases the marker from EngineCore and Worker
    env[MARK] = write_marker(marker)
    env[SPEC] = write_spec(spec)
    return dict(sorted(env.items()))


def unmarked(
    base: Mapping[str, str],
    runtime: RuntimeInfo,
    spec: Spec,
    placement: Placement | None = None,
    laid: Laid | None = None,
) -> dict[str, str]:
    """What every start of this spec has in common. Later lines win."""
    env = baseline(base)
    env.update(runtime.env)
    cuda = [f"{spec.cuda_home}/bin"] if spec.cuda_home else []
    env["PATH"] = join_path([f"{runtime.prefix}/bin", *runtime.env.get("PATH", "").split(":"), *cuda, *SYSTEM_PATH])
    env["VIRTUAL_ENV" if not runtime.key.startswith("conda") else "CONDA_PREFIX"] = runtime.prefix
    env["PYTHONUNBUFFERED"] = "1"  # the log is followed as it is written
    if spec.cuda_home:
        env["CUDA_HOME"] = spec.cuda_home
    if spec.hf_home:
        env["HF_HOME"] = spec.hf_home
    env["HF_HUB_OFFLINE"] = "1"  # its weights were fetched and verified before: a start never downloads in silence
    env.update(spec.env)
    env.update(_gpus(spec, placement))  # an older file may name cards by itself, and was placed elsewhere
    return search_paths(env, runtime.libraries, laid)


def search_paths(env: Mapping[str, str], own: Iterable[str], laid: Laid | None) -> dict[str, str]:
    """The same with LD_LIBRARY_PATH in its safe order: the runtime's ``own`` folders, the links to libcuda, the rest.
    The other way round a CUDA of the system hides the one that torch came with (``undefined symbol: __nvJitLink...``).
    A stubs folder is for linking alone: what is loaded from there answers every call with an error."""
    safe = dict(env)
    rest = [folder for folder in safe.pop("LD_LIBRARY_PATH", "").split(":") if folder and not is_stubs(folder)]
    if laid and laid.load:
        rest = [laid.folder, *rest]
    if rest:
        safe["LD_LIBRARY_PATH"] = join_path([*own, *rest])
    if laid:
        # The loader's path means nothing to the linker, which has this one.
        safe["LIBRARY_PATH"] = join_path([laid.folder, *safe.get("LIBRARY_PATH", "").split(":")])
        safe.setdefault("TRITON_LIBCUDA_PATH", laid.folder)
    return safe


def is_stubs(folder: str) -> bool:
    return folder.rstrip("/").rpartition("/")[2] == "stubs"


def _gpus(spec: Spec, placement: Placement | None) -> dict[str, str]:
    """Indexes mean what nvidia-smi means by them only in PCI order. An empty list hides all."""
    order = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    if placement is not None:
        return order | {VISIBLE: ",".join(placement.gpus)}
    if isinstance(spec.gpus, tuple) or spec.gpus == 0:
        return order | {VISIBLE: ",".join(spec.gpus or ())}
    return order
