"""`orch gpus`: the cards of this host, and who holds them."""

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import options

if TYPE_CHECKING:
    from orchestrator.cli.context import Context
    from orchestrator.model import Instance, Inventory


def gpus(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Redraw until Ctrl-C.")] = False,
    root: options.Root = None,
    state_dir: options.StateDir = None,
    output: options.OutputOption = options.Output.TEXT,
) -> int:
    """Show the GPUs, and who holds them.

    Memory, utilisation and temperature of each, and its processes: deployments of this project, what is left over of
    one, other people's. Stands in nobody's way: nothing is started, and nothing runs on a GPU for it."""
    from orchestrator.cli.context import context
    from orchestrator.cli.redraw import redraw
    from orchestrator.errors import HostError

    here = context(root, state_dir)
    if watch:
        redraw(lambda: _show(here, here.eyes.gpus.inventory(), output))
    inventory = here.eyes.gpus.inventory()
    broken = inventory is not None and bool(inventory.why)
    if not broken or output is options.Output.JSON:
        typer.echo(_show(here, inventory, output))
    if inventory is not None and broken:
        raise HostError("read the GPUs", inventory.why, inventory.do)
    return 0


def _show(here: "Context", inventory: "Inventory | None", output: options.Output) -> str:
    from orchestrator.gpus_table import gpus_json, gpus_text
    from orchestrator.render import document

    project = here.eyes.state.project
    instances = _instances(here, project) if inventory and inventory.gpus else ()
    if output is options.Output.JSON:
        return document(gpus_json(inventory, instances, project, here.eyes.clock.now()))
    return gpus_text(inventory, instances, project)


def _instances(here: "Context", project: str) -> "tuple[Instance, ...]":
    from orchestrator.history import attempts

    return here.eyes.target.list(project, attempts(project, here.eyes.state.records().values()))
