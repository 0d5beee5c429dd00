"""The links that an environment has: its runtime, and all that stands between that runtime's torch and the GPU."""

from collections.abc import Iterator

from orchestrator.chain.facts import Engine, Finding, Machine, Trial
from orchestrator.chain.machine import NO_GPU
from orchestrator.environ import is_stubs
from orchestrator.findings import listed
from orchestrator.units import format_size

CACHE_LOW = 10_000_000_000
SHADOWS_SHOWN = 3


def runtime(one: Engine, machine: Machine) -> Iterator[Finding]:
    name, state = "runtime", one.state
    why, _, do = state.why.partition("; ")
    if state.status == "missing":
        yield Finding(name, "bad", why or "it is not there", one.runtime.label, do or "name one that exists")
    elif state.status == "buildable":
        yield Finding(name, "not checked", why, one.runtime.label, "`orch apply` builds it")
    elif one.info is None:
        yield Finding(name, "not checked", why, one.runtime.label)
    elif one.info is not None:
        torch = f", torch {one.info.torch}" if one.info.torch else ""
        yield Finding(name, "good", f"{one.info.engine} {one.info.version}{torch}", one.info.prefix)
    if one.device == "cuda" and not machine.gpu:
        do = "use an environment whose runtime computes on the CPU, or go where the GPU is"
        yield Finding(name, "warning", f"it computes on a GPU, and {NO_GPU}", one.file, do)


def activation(one: Engine, _: Machine) -> Iterator[Finding]:
    name, trial = "conda activation", one.activation
    if one.runtime.kind != "conda":
        yield Finding(name, "not needed", "no conda environment")
    elif trial is None:
        yield Finding(name, "not checked", "the conda environment is not there")
    elif trial.passed:
        yield Finding(name, "good", trial.what)
    else:
        do = "mend that script; `conda list` tells which package brought it"
        yield Finding(name, "bad", f"a script of activate.d fails: {trial.why}", trial.what, do)


def loading(one: Engine, machine: Machine) -> Iterator[Finding]:
    name = "libcuda for loading"
    if one.load is None:
        yield Finding(name, "not checked", one.untested or "it was not tried")
        return
    yield _trial(name, one.load, one, machine)
    if one.load.passed and one.mend and not any(trial.passed is False for trial in one.links):
        yield Finding(name, "warning", "; ".join(one.mend.why), one.mend.laid.folder, _fix(one), True)


def linking(one: Engine, machine: Machine) -> Iterator[Finding]:
    name = "libcuda for linking"
    if one.load is None:
        yield Finding(name, "not checked", one.untested or "it was not tried")
    elif not one.links:
        yield Finding(name, "not needed", "nothing in this runtime links at run time")
    for trial in one.links:
        yield _trial(name, trial, one, machine)


def _trial(name: str, trial: Trial, one: Engine, machine: Machine) -> Finding:
    """What orch laid makes a test pass as well as anything: the tests are those of an engine that orch starts."""
    found = f"cannot {trial.what}: {trial.why}"
    where = one.candidates[0] if one.candidates else ""
    if trial.passed:
        through = one.laid.folder if one.laid else where
        return Finding(name, "good", f"can {trial.what}", through)
    if trial.passed is None:
        return Finding(name, "not checked", f"could not try to {trial.what}: {trial.why}", do="see to that first")
    if one.mend:
        return Finding(name, "bad", found, where, _fix(one), True)
    if one.refused:
        why, _, do = one.refused.partition("; ")
        return Finding(name, "bad", f"{found}; and {one.libcuda} cannot stand in: {why}", one.file, do)
    if one.candidates and one.libcuda == "off":
        do = f"write `libcuda: auto` into {one.file}, then `orch doctor {one.name} --fix`"
        return Finding(name, "bad", found, where, do)
    if not machine.gpu and not one.candidates:
        return Finding(name, "not checked", f"{NO_GPU}, and no libcuda")
    others = f"; {'; '.join(one.rejected)}" if one.rejected else ""
    return Finding(name, "bad", f"{found}{others}", where, "install the driver's libraries: none here is whole")


def _fix(one: Engine) -> str:
    return f"`orch doctor {one.name} --fix` lays links in your home"


def cuda_home(one: Engine, machine: Machine) -> Iterator[Finding]:
    name, home = "CUDA_HOME", one.home
    whole = [kit.path for kit in machine.toolkits if not kit.trouble]
    do = "install a CUDA toolkit, or leave CUDA_HOME out"
    if whole:
        do = f"name a whole toolkit as cuda.home: {listed(whole, 'or')}"
    if home is None:
        yield Finding(
            name, "good", f"not set: {whole[0] if whole else 'what the PATH has'} is taken where one is needed"
        )
    elif ":" in home.path:
        yield Finding(name, "bad", f"{home.path} is a list, and must be one folder", home.says, do)
    elif not home.exists:
        yield Finding(name, "bad", f"{home.path} does not exist", home.says, do)
    elif home.lacks:
        yield Finding(name, "bad", f"{home.path} has no {listed(home.lacks, 'and no')}", home.says, do)
    elif (
        _major(home.version) and one.torch and _major(one.torch.cuda) and _major(home.version) != _major(one.torch.cuda)
    ):
        found = f"{home.path} is CUDA {home.version}, and torch was built with {one.torch.cuda}"
        do = f"kernels compiled at run time need one of CUDA {_major(one.torch.cuda)}: name it as cuda.home"
        yield Finding(name, "warning", found, home.says, do)
    else:
        yield Finding(name, "good", f"{home.path}{f', CUDA {home.version}' if home.version else ''}", home.says)


def compiler(one: Engine, _: Machine) -> Iterator[Finding]:
    name, tools = "C compiler", one.tools
    if not tools.compiler:
        do = "install one (`sudo apt install build-essential`), or name it in `env:` as CC"
        yield Finding(name, "bad", "there is none, and Triton compiles at the first start", do=do)
    elif tools.headers == "":
        do = "install Python's headers (`sudo apt install python3-dev`, of the same version)"
        yield Finding(name, "warning", "the runtime has no Python.h, which Triton includes", tools.compiler, do)
    else:
        yield Finding(name, "good", tools.compiler)


def nvcc_and_ninja(one: Engine, _: Machine) -> Iterator[Finding]:
    """What FlashInfer and others compile their kernels with, for some models and some cards."""
    name, tools = "nvcc and ninja", one.tools
    if not tools.nvcc:
        found = "there is no nvcc: a start that compiles kernels (FlashInfer) fails (vllm issue 49497)"
        do = "install a CUDA toolkit of torch's CUDA, and name it as cuda.home"
        yield Finding(name, "warning", found, do=do)
    if not tools.ninja:
        found = "there is no ninja, by which kernels are compiled at run time"
        do = f"`uv pip install -p {one.info.python if one.info else 'PYTHON'} ninja`"
        yield Finding(name, "warning", found, do=do)
    if tools.nvcc and tools.ninja:
        yield Finding(name, "good", f"{tools.nvcc}, {tools.ninja}")


def torch_and_driver(one: Engine, machine: Machine) -> Iterator[Finding]:
    """Within one major version of CUDA an older driver runs what was built with a newer one."""
    name, torch = "torch's CUDA", one.torch
    newest = machine.inventory.cuda if machine.inventory else ""
    if torch is None:
        yield Finding(name, "not checked", one.untested or "torch was not asked")
    elif not torch.version:
        yield Finding(name, "not checked", "torch cannot be imported")
    elif not torch.cuda:
        do = "install a build of torch with CUDA into the runtime"
        yield Finding(name, "bad", f"torch {torch.version} was built without CUDA", do=do)
    elif not newest:
        why = "the driver does not say what it runs" if machine.gpu else NO_GPU
        yield Finding(name, "not checked", f"{torch.cuda}; {why}")
    elif _number(torch.cuda) <= _number(newest):
        yield Finding(name, "good", f"{torch.cuda}, and the driver runs up to {newest}")
    elif _major(torch.cuda) == _major(newest):
        yield Finding(name, "good", f"{torch.cuda}, and the driver's {newest} runs all of CUDA {_major(newest)}")
    elif torch.available:
        yield Finding(name, "good", f"{torch.cuda}, by forward compatibility on a driver for {newest}")
    else:
        found = f"{torch.cuda} is too new for the driver, which runs up to {newest}"
        do = f"update the driver, or install a torch built with CUDA {_major(newest)} into the runtime"
        yield Finding(name, "bad", found, do=do)


def available(one: Engine, machine: Machine) -> Iterator[Finding]:
    name, torch = "torch.cuda", one.torch
    if torch is None:
        yield Finding(name, "not checked", one.untested or "torch was not asked")
    elif not torch.version:
        do = "install torch into the runtime again"
        yield Finding(name, "bad", f"torch cannot be imported: {torch.why}", do=do)
    elif torch.available:
        devices = f"{torch.devices} {'device' if torch.devices == 1 else 'devices'}"
        yield Finding(name, "good", f"available, {devices}")
    elif not machine.gpu:
        yield Finding(
            name, "not checked", f"not available, as {NO_GPU}{f'; torch says: {torch.why}' if torch.why else ''}"
        )
    else:
        words = torch.why or "torch gives no reason"
        do = "see to the first thing above that is bad; else `nvidia-smi`, then restart the machine"
        yield Finding(name, "bad", f"not available: {words}", do=do)


def triton(one: Engine, _: Machine) -> Iterator[Finding]:
    """Up to 3.5 Triton links `-lcuda`, which needs the name without a version; from 3.6 on `-l:libcuda.so.1`."""
    name = "Triton"
    if not one.triton:
        yield Finding(name, "not checked" if one.info is None else "not needed", "the runtime holds no Triton")
        return
    wants = "libcuda.so (-lcuda)" if _number(one.triton) < (3, 6) else "libcuda.so.1 (-l:libcuda.so.1)"
    yield Finding(name, "good", f"{one.triton}, which links {wants}; {one.triton_looks}")


def library_path(one: Engine, _: Machine) -> Iterator[Finding]:
    """All of it is mended by the order in which orch gives an engine its folders; a start by hand is not."""
    name, warned = "LD_LIBRARY_PATH", False
    mended = f"nothing: orch leaves it out for the engine; by hand, take it out of {one.path_says}"
    behind = f"nothing: orch puts torch's own folders first; by hand, take it out of {one.path_says}"
    for entry in dict.fromkeys(one.path):
        where = entry.folder or "(empty)"
        if not entry.folder:
            yield Finding(name, "warning", "an empty entry means the folder one happens to be in", where, mended)
        elif is_stubs(entry.folder):
            yield Finding(name, "warning", "a stubs folder is for linking: all its calls fail", where, mended)
        elif not entry.exists:
            do = f"take it out of {one.path_says}"
            yield Finding(name, "warning", "there is no such folder", where, do)
        elif entry.shadows:
            more = f" and {len(entry.shadows) - SHADOWS_SHOWN} more" if len(entry.shadows) > SHADOWS_SHOWN else ""
            found = f"it hides torch's own {', '.join(entry.shadows[:SHADOWS_SHOWN])}{more}"
            yield Finding(name, "warning", found, where, behind)
        else:
            continue
        warned = True
    if not warned:
        folders = ", ".join(entry.folder for entry in one.path)
        yield Finding(name, "good", folders or "not set", one.path_says if one.path else "")


def cache(one: Engine, _: Machine) -> Iterator[Finding]:
    name, folder = "HF cache", one.cache
    if folder is None:
        yield Finding(name, "not checked", "its place is not known")
    elif folder.trouble:
        do = "make it yours (`sudo chown`), or name another as cache.hf_home"
        yield Finding(name, "bad", f"cannot be written: {folder.trouble}", folder.path, do)
    else:
        free = f"{format_size(folder.free)} free" if folder.free is not None else "free space unknown"
        low = folder.free is not None and folder.free < CACHE_LOW
        do = "make room (`orch models`), or name another disk as cache.hf_home" if low else ""
        found = f"writable, {free}{f' on {folder.disk}' if folder.disk else ''}"
        yield Finding(name, "warning" if low else "good", found, folder.path, do)


def _number(version: str) -> tuple[int, ...]:
    """(3, 6) of "3.6.0+git": the first two numbers, as far as there are any."""
    parts = version.partition("+")[0].split(".")[:2]
    digits = ("".join(one for one in part if one.isdigit()) for part in parts)
    return tuple(int(one) for one in digits if one)


def _major(version: str) -> int:
    return next(iter(_number(version)), 0)
