"""`orch engine`: what each version of the engine takes on its command line."""

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import options

if TYPE_CHECKING:
    from orchestrator.engines.knowledge import Engine
    from orchestrator.errors import UsageProblem

app = typer.Typer(help="What each version of vLLM takes on its command line.", no_args_is_help=True)

Version = Annotated[str, typer.Argument(metavar="VERSION", help="As 0.33 or vllm==0.33.0; the nearest that is known.")]


@app.command("flags")
def flags(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="FLAG", help="These alone, in full.", show_default=False)
    ] = None,
    version: Annotated[
        str | None, typer.Option("--version", metavar="VERSION", help="Of vLLM; the newest that is known without it.")
    ] = None,
    output: options.OutputOption = options.Output.TEXT,
) -> int:
    """Show the flags that a version takes: type, choices, bounds, default."""
    from orchestrator.engine_data import load_all, shipped
    from orchestrator.engines_text import flag_text, flags_json, flags_text
    from orchestrator.errors import raise_all
    from orchestrator.render import document

    engine = _engine(version or "")
    chosen = {name: engine.find(name) for name in names or ()}
    raise_all(_unknown(name, engine) for name, found in chosen.items() if found is None)
    found = [flag for flag in chosen.values() if flag] or list(engine.flags.values())
    if output is options.Output.JSON:
        typer.echo(document(flags_json(engine, found)))
    elif names:
        known = load_all(shipped())
        typer.echo("\n\n".join(flag_text(flag, engine, known) for flag in found))
    else:
        typer.echo(flags_text(engine, found))
    return 0


@app.command("diff")
def diff(
    old: Version,
    new: Version,
    paths: options.Paths = None,
    root: options.Root = None,
    output: options.OutputOption = options.Output.TEXT,
) -> int:
    """Show what changed between two versions; with PATHs, for the flags that these profiles use."""
    from orchestrator.engines.changes import diff as compare
    from orchestrator.engines_text import diff_json, diff_text
    from orchestrator.render import document

    before, after = _engine(old), _engine(new)
    used = _used(paths, root) if paths else None
    found = compare(before, after)
    if output is options.Output.JSON:
        typer.echo(document(diff_json(before, after, found, used)))
    else:
        typer.echo(diff_text(before, after, found, used))
    return 0


@app.command("snapshot")
def snapshot(
    environment: Annotated[str, typer.Argument(metavar="ENVIRONMENT", help="Whose runtime is asked.")],
    root: options.Root = None,
    output: options.OutputOption = options.Output.TEXT,
) -> int:
    """Ask an installed engine itself which flags it takes, and keep the answer.

    Profiles of this environment are held against it from then on. It takes half a minute."""
    import os

    from orchestrator.cli.context import context, runtimes
    from orchestrator.engine_data import load
    from orchestrator.render import document

    here = context(root, None)
    installed = runtimes(dict(os.environ))
    spec = here.environment(environment).runtime
    info = installed.ensure(spec, lambda line: typer.echo(line, err=True))
    file = installed.snapshot(info)
    engine = load(file)
    count = len(engine.flags) if engine else 0
    if output is options.Output.JSON:
        typer.echo(
            document({"version": 1, "engine": info.engine, "of": info.version, "flags": count, "file": str(file)})
        )
    else:
        typer.echo(f"{info.engine} {info.version} takes {count} flags; kept in {file}")
    return 0


def _engine(text: str) -> "Engine":
    from orchestrator.engine_data import load, shipped
    from orchestrator.engines.versions import nearest, order
    from orchestrator.errors import HostError
    from orchestrator.rehearsal import asked_for

    known = shipped()
    version = asked_for(text, known) if text else ""
    name = nearest(version, known)
    engine = load(known[name]) if name else None
    if engine is None or name is None:
        raise HostError("read what is known of vllm", "its files are not there", "install orch again")
    if version and order(name) != order(version):
        typer.echo(f"orch: vllm {version} is not known here: this is {name}, the nearest", err=True)
    return engine


def _unknown(name: str, engine: "Engine") -> "UsageProblem":
    from orchestrator.errors import UsageProblem
    from orchestrator.findings import did_you_mean

    do = did_you_mean(name.lstrip("-").replace("_", "-"), engine.names()) or "see `orch engine flags`"
    return UsageProblem(f"show {name}", f"vllm {engine.version} has no such flag", do)


def _used(paths: list[str], root: str | None) -> dict[str, tuple[str, ...]]:
    """Which profiles use a flag."""
    from orchestrator.cli.context import context
    from orchestrator.engine_checks import given

    profiles, _ = context(root, None, paths).load(paths)
    found: dict[str, tuple[str, ...]] = {}
    for profile in profiles:
        for name in given(profile):
            found[name] = (*found.get(name, ()), profile.name)
    return found
