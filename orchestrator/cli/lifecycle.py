"""`orch stop`, `start`, `restart` and `delete`: day to day, on what is deployed already."""

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import options

if TYPE_CHECKING:
    from orchestrator.model import Deployment, Record


def stop(names: options.NamesOrOnly = None, root: options.Root = None, state_dir: options.StateDir = None) -> int:
    """Stop on purpose.

    Requests in flight are finished; it stays stopped until `start` or `apply`."""
    return _take_down(names or [], root, state_dir, forget=False, ask=False)


def delete(
    names: options.Names = None,
    everything: Annotated[bool, typer.Option("--all", help="Everything this project has deployed.")] = False,
    yes: options.Yes = False,
    root: options.Root = None,
    state_dir: options.StateDir = None,
) -> int:
    """Stop and forget.

    Removes the deployment's record, its history and its logs; the profile's file stays."""
    if not names and not everything:
        from orchestrator.errors import UsageProblem

        raise UsageProblem("delete", "no deployment is named", "name one, or give --all")
    return _take_down(names or [], root, state_dir, forget=True, ask=not yes, everything=everything)


def start(
    names: options.NamesOrOnly = None,
    timeout: options.Timeout = None,
    follow: options.Follow = False,
    root: options.Root = None,
    state_dir: options.StateDir = None,
) -> int:
    """Start the current revision again."""
    return _bring_up(names or [], root, state_dir, timeout=timeout, follow=follow, again=False)


def restart(
    names: options.NamesOrOnly = None,
    timeout: options.Timeout = None,
    follow: options.Follow = False,
    root: options.Root = None,
    state_dir: options.StateDir = None,
) -> int:
    """Stop and start again.

    The current revision, though nothing differs."""
    return _bring_up(names or [], root, state_dir, timeout=timeout, follow=follow, again=True)


def _take_down(
    names: list[str], root: str | None, state_dir: str | None, *, forget: bool, ask: bool, everything: bool = False
) -> int:
    from orchestrator.cli import changes
    from orchestrator.cli.context import context
    from orchestrator.cli.deployed import choose, specs
    from orchestrator.cli.events import Console
    from orchestrator.reconcile import take_down

    here = context(root, state_dir)
    world = here.world(Console())
    found = tuple(specs(world)) if everything else choose(names, world)
    status = changes.carry_out(
        lambda seen: take_down(found, seen, forget=forget), (), here, world, ask=ask, quiet=not ask
    )
    if status == 0:
        typer.echo(f"{'deleted' if forget else 'stopped'}: {', '.join(sorted(found)) or 'nothing'}")
    return status


def _bring_up(
    names: list[str], root: str | None, state_dir: str | None, *, timeout: str | None, follow: bool, again: bool
) -> int:
    from orchestrator.cli import changes
    from orchestrator.cli.context import context
    from orchestrator.cli.deployed import choose
    from orchestrator.cli.events import Console
    from orchestrator.cli.plan import seconds
    from orchestrator.reconcile import Options, reconcile

    here = context(root, state_dir)
    world = here.world(Console(follow=follow))
    records = world.state.records()
    wanted = tuple(_current(name, records.get(name)) for name in choose(names, world))
    chosen = Options(restart=frozenset(one.name for one in wanted) if again else frozenset(), unpin=True)
    return changes.carry_out(
        lambda seen: reconcile(wanted, seen, chosen), wanted, here, world, ask=False, timeout=seconds(timeout)
    )


def _current(name: str, record: "Record | None") -> "Deployment":
    from orchestrator.errors import InputError
    from orchestrator.revisions import in_force

    if record is None:
        raise InputError(f"start {name}", "its record was lost", f"use `orch apply {name}`, which writes it again")
    if pinned := in_force(record):
        return pinned
    if record.revision is None:
        raise InputError(f"start {name}", "it never became ready", f"use `orch apply {name}`")
    return record.revision.deployment
