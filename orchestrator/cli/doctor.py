"""`orch doctor`: the chain from the driver to torch, for the runtimes that will really run."""

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import options

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from orchestrator.chain.facts import Engine, Machine
    from orchestrator.chain.text import Section
    from orchestrator.checkup.engine import Sources
    from orchestrator.cli.context import Context
    from orchestrator.cli.events import Console
    from orchestrator.errors import OrchError
    from orchestrator.model import Environment, Mend


def complete_environment(incomplete: str) -> list[str]:
    from orchestrator.cli.context import context
    from orchestrator.find import folder_files

    files = folder_files(context(None, None).root / "environments")
    return [file.stem for file in files if file.stem.startswith(incomplete)]


def doctor(
    environment: Annotated[
        str | None,
        typer.Argument(
            metavar="ENVIRONMENT",
            help="Its name, or its file; without one, all of the project.",
            autocompletion=complete_environment,
            show_default=False,
        ),
    ] = None,
    fix: Annotated[bool, typer.Option("--fix", help="Lay links to libcuda, in your home only, where needed.")] = False,
    unfix: Annotated[bool, typer.Option("--unfix", help="Remove what --fix has laid.")] = False,
    root: options.Root = None,
    state_dir: options.StateDir = None,
    output: options.OutputOption = options.Output.TEXT,
) -> int:
    """Check what a start depends on, from the driver to torch.

    Says at each link what was found, and the one thing to do. Ends with 1 when something is bad. Changes nothing
    without --fix."""
    from orchestrator.cli.context import context
    from orchestrator.cli.events import Console
    from orchestrator.errors import UsageProblem

    if fix and unfix:
        raise UsageProblem("use --fix and --unfix together", "one undoes the other", "leave one out")
    here, console = context(root, state_dir, [environment] if environment else []), Console()
    chosen, broken = _environments(here, environment)
    if unfix:
        return _unfix(chosen, here, console, output)
    sources = _sources(here, console)
    console.say("asking the NVIDIA driver, if there is one")
    machine = _machine(here)
    engines = _look(chosen, sources)
    mended, failed = _fix(chosen, engines, here, console, output) if fix else ([], [])
    if mended:
        engines = _look(chosen, sources)
    return _report(_sections(machine, engines, broken), output, mended, failed)


def _environments(here: "Context", given: str | None) -> "tuple[list[Environment], list[tuple[Path, OrchError]]]":
    """Those asked for, and the files of the project that do not load; one asked for by name must."""
    from orchestrator.errors import OrchError
    from orchestrator.find import folder_files

    if given is not None:
        return [here.environment(given)], []
    loaded, broken = [], []
    for file in folder_files(here.root / "environments"):
        try:
            loaded.append(here.load_environment(file))
        except OrchError as error:
            broken.append((file, error))
    return loaded, broken


def _sources(here: "Context", console: "Console") -> "Sources":
    from orchestrator.checkup.engine import Sources
    from orchestrator.cuda.mender import CudaReader
    from orchestrator.runtimes.catalogue import RuntimeReader

    eyes = here.eyes
    # The checkup asks these two for more than their ports say.
    assert isinstance(eyes.runtimes, RuntimeReader)
    assert isinstance(eyes.cuda, CudaReader)
    return Sources(eyes.runtimes, eyes.cuda, eyes.weights.cache, eyes.host.variables, console.say)


def _machine(here: "Context") -> "Machine":
    from orchestrator.checkup import machine
    from orchestrator.runtimes.catalogue import RuntimeReader

    eyes = here.eyes
    assert isinstance(eyes.runtimes, RuntimeReader)
    own = [("data", eyes.runtimes.data_dir), ("state", here.state_dir), ("cache", eyes.runtimes.cache_dir)]
    return machine.look(eyes.host.variables, eyes.gpus.inventory, eyes.clock.now(), own)


def _look(chosen: "Sequence[Environment]", sources: "Sources") -> "list[Engine]":
    from orchestrator.checkup import engine

    return [engine.look(one, sources) for one in chosen]


def _sections(
    machine: "Machine", engines: "Sequence[Engine]", broken: "Sequence[tuple[Path, OrchError]]"
) -> "list[Section]":
    from orchestrator.chain.facts import Finding
    from orchestrator.chain.text import Section
    from orchestrator.chain.walk import of_engine, of_machine

    made = [Section("This machine", of_machine(machine, engines))]
    made += [
        Section(f"Environment {one.name} ({one.runtime.label})", of_engine(one, machine), one.name) for one in engines
    ]
    for file, error in broken:
        why = str(error).replace("\n", "; ")
        finding = Finding("environment file", "bad", why, str(file), "`orch validate` shows what is wrong in it")
        made.append(Section(f"Environment {file.stem}", (finding,), file.stem))
    return made


def _report(
    sections: "Sequence[Section]", output: options.Output, mended: "Sequence[Mend]", failed: "Sequence[str]"
) -> int:
    from orchestrator.chain.text import report_json, report_text
    from orchestrator.chain.walk import bad
    from orchestrator.render import document

    if output is options.Output.JSON:
        typer.echo(document(report_json(sections, mended, failed)))
    else:
        typer.echo(report_text(sections))
    return 1 if failed or bad(one for section in sections for one in section.findings) else 0


def _fix(
    chosen: "Sequence[Environment]",
    engines: "Sequence[Engine]",
    here: "Context",
    console: "Console",
    output: options.Output,
) -> "tuple[list[Mend], list[str]]":
    """What was laid and proven, and what was tried and failed."""
    from orchestrator.chain.text import mended_text
    from orchestrator.checkup.engine import wanted
    from orchestrator.errors import HostError

    cuda = here.world(console).cuda
    mended, failed = [], []
    for environment, one in zip(chosen, engines, strict=True):
        if one.mend is None or one.info is None:
            typer.echo(f"{one.name}: {_idle(one)}", err=True)
            continue
        typer.echo(mended_text(one.mend), err=output is options.Output.JSON)
        try:
            cuda.repair(wanted(environment), one.info)
        except HostError as error:
            typer.echo(f"orch: {error}", err=True)
            failed.append(str(error))
        else:
            mended.append(one.mend)
            typer.echo(f"{one.name}: mended, and its tests pass\n", err=output is options.Output.JSON)
    return mended, failed


def _idle(one: "Engine") -> str:
    """Why nothing is laid."""
    if one.info is None:
        return "its runtime is not there, so nothing can be mended yet"
    if one.refused:
        return f"nothing can be mended: {one.refused}"
    if not any(trial and trial.passed is False for trial in (one.load, *one.links)):
        return "nothing is to be mended"
    return "cuda.libcuda is off, so nothing is mended" if one.libcuda == "off" else "links cannot mend what is bad"


def _unfix(chosen: "Sequence[Environment]", here: "Context", console: "Console", output: options.Output) -> int:
    from orchestrator.cuda.mender import CudaMender
    from orchestrator.render import VERSION, document

    cuda = here.world(console).cuda
    assert isinstance(cuda, CudaMender)
    removed = {one.name: cuda.unmend(one.name) for one in chosen}
    if output is options.Output.JSON:
        typer.echo(document({"version": VERSION, "removed": [name for name, done in removed.items() if done]}))
        return 0
    for name, done in removed.items():
        typer.echo(f"{name}: {f'removed the links in {cuda.folder(name)}' if done else 'nothing was laid'}")
    if not removed:
        typer.echo("nothing was laid: there is no environment here")
    return 0
