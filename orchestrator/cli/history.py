"""`orch history`: the revisions of a deployment that are kept, and what failed."""

from typing import Annotated

import typer

from orchestrator.cli import options


def history(
    name: options.Name = None,
    diff: Annotated[
        tuple[int, int] | None,
        typer.Option("--diff", metavar="A B", help="How revision B differs from revision A."),
    ] = None,
    root: options.Root = None,
    state_dir: options.StateDir = None,
    output: options.OutputOption = options.Output.TEXT,
) -> int:
    """Show what ran before.

    Every deployment that became ready is a revision; the newest 20 are kept. `orch rollback` goes back to one."""
    from orchestrator.cli.context import context
    from orchestrator.cli.deployed import choose
    from orchestrator.history_text import diff_json, diff_text, history_json, history_text, pick
    from orchestrator.render import document
    from orchestrator.revisions import every

    eyes = context(root, state_dir).eyes
    chosen = choose([name] if name else [], eyes)[0]
    record = eyes.state.records().get(chosen)
    known = every(record, eyes.state.revisions(chosen))
    as_json = output is options.Output.JSON
    if diff:
        a, b = (pick(chosen, known, number) for number in diff)
        typer.echo(document(diff_json(chosen, a, b)) if as_json else diff_text(chosen, a, b))
        return 0
    now = eyes.clock.now()
    made = tuple(known.values())
    typer.echo(document(history_json(chosen, record, made)) if as_json else history_text(chosen, record, made, now))
    return 0
