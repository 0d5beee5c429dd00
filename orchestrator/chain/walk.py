"""The chain itself: its links in order, and which of them a runtime has at all."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from orchestrator.chain import engine, machine
from orchestrator.chain.facts import Engine, Finding, Machine

Look = Callable[[Engine, Machine], Iterator[Finding]]


@dataclass(frozen=True, slots=True)
class Link:
    """``cuda``: only a runtime that computes on CUDA has it. ``inside``: it shows only in a runtime that is there."""

    name: str
    look: Look
    cuda: bool = True
    inside: bool = True


ENGINE = (
    Link("runtime", engine.runtime, cuda=False, inside=False),
    Link("conda activation", engine.activation, cuda=False, inside=False),
    Link("libcuda for loading", engine.loading),
    Link("libcuda for linking", engine.linking),
    Link("CUDA_HOME", engine.cuda_home, inside=False),
    Link("C compiler", engine.compiler),
    Link("nvcc and ninja", engine.nvcc_and_ninja),
    Link("torch's CUDA", engine.torch_and_driver),
    Link("torch.cuda", engine.available),
    Link("Triton", engine.triton),
    Link("LD_LIBRARY_PATH", engine.library_path),
    Link("HF cache", engine.cache, cuda=False, inside=False),
)

CUDA = (
    ("driver", machine.driver),
    ("device nodes", machine.device_nodes),
    ("GPUs", machine.cards),
    ("IOMMU and ACS", machine.peers),
    ("CUDA toolkits", machine.toolkits),
)


def of_machine(facts: Machine, engines: Sequence[Engine] = ()) -> tuple[Finding, ...]:
    """``engines`` are all that were asked about: where none of them computes on CUDA, nothing of it is looked at."""
    found: list[Finding] = []
    idle = bool(engines) and all(_elsewhere(one) for one in engines)
    for name, look in CUDA:
        found += [Finding(name, "not needed", _idle(engines[0], facts))] if idle else look(facts)
    found += machine.open_files(facts)
    found += machine.shared_memory(facts)
    found += machine.clock(facts, max((one.newest for one in engines), default=0.0))
    found += machine.folders(facts)
    return tuple(found)


def of_engine(one: Engine, facts: Machine) -> tuple[Finding, ...]:
    found: list[Finding] = []
    for link in ENGINE:
        if link.cuda and (why := _elsewhere(one)):
            found.append(Finding(link.name, "not needed", why))
        elif link.inside and one.info is None:
            found.append(Finding(link.name, "not checked", "the runtime is not there"))
        else:
            found += link.look(one, facts)
    return tuple(found)


def _idle(one: Engine, facts: Machine) -> str:
    return _elsewhere(one) if facts.gpu else f"{machine.NO_GPU}; {_elsewhere(one)}"


def _elsewhere(one: Engine) -> str:
    """Why CUDA is nothing to this runtime, or ""."""
    if one.device == "cpu":
        return "the runtime computes on the CPU"
    return "the runtime's torch was built for other hardware" if one.device == "other" else ""


def bad(findings: Iterable[Finding]) -> bool:
    return any(one.status == "bad" for one in findings)
