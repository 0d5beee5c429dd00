"""`orch rollback`: an earlier revision again, and it stays there."""

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import options

if TYPE_CHECKING:
    from orchestrator.model import Deployment
    from orchestrator.ports import Eyes


def rollback(
    name: options.Name = None,
    number: Annotated[
        int | None,
        typer.Option("--to", metavar="N", min=1, help="This revision, as `orch history` numbers them."),
    ] = None,
    yes: options.Yes = False,
    dry_run: options.DryRun = False,
    timeout: options.Timeout = None,
    follow: options.Follow = False,
    root: options.Root = None,
    state_dir: options.StateDir = None,
    output: options.OutputOption = options.Output.TEXT,
) -> int:
    """Go back to an earlier revision.

    Without --to to the newest earlier one that differs. Shows the plan and asks. The revision is pinned: it holds,
    whatever the files say, until `orch apply --unpin NAME`. Nothing is fetched or built that is still there."""
    from orchestrator.cli import changes
    from orchestrator.cli.context import context
    from orchestrator.cli.events import Console
    from orchestrator.cli.plan import seconds
    from orchestrator.reconcile import Options, reconcile

    here = context(root, state_dir)
    world = None if dry_run else here.world(Console(follow=follow))
    wanted = (_goal(name, number, world or here.eyes),)
    chosen = Options(unpin=True)  # one that failed since is what the person asks for all the same
    if world is None:
        return changes.dry_run(lambda seen: reconcile(wanted, seen, chosen), wanted, here, output)
    return changes.carry_out(
        lambda seen: reconcile(wanted, seen, chosen),
        wanted,
        here,
        world,
        output,
        ask=not yes,
        timeout=seconds(timeout),
    )


def _goal(name: str | None, number: int | None, eyes: "Eyes") -> "Deployment":
    from orchestrator.cli.deployed import choose
    from orchestrator.cli.recorded import with_secrets_of_now
    from orchestrator.revisions import goal

    chosen = choose([name] if name else [], eyes)[0]
    records, kept = eyes.state.records(), eyes.state.revisions(chosen)
    return with_secrets_of_now(goal(chosen, records.get(chosen), kept, number), eyes)
