"""`orch watch`: keeps it so."""

from typing import Annotated

import typer

from orchestrator.cli import options


def watch(
    paths: options.Paths = None,
    plan_only: Annotated[bool, typer.Option("--plan-only", help="Say what would be done; change nothing.")] = False,
    root: options.Root = None,
    state_dir: options.StateDir = None,
) -> int:
    """Keep it so.

    Starts again what crashes or hangs, as `restart` of its profile says, and applies what changes in the files once
    they are valid. Without a PATH, for all that this project has deployed. Ends with Ctrl-C; what runs goes on."""
    import json
    import os
    import sys

    # Afresh, without typer: it and what comes with it are half of what a watcher would weigh for weeks.
    asked = {"paths": paths or [], "plan_only": plan_only, "root": root, "state_dir": state_dir}
    os.execv(sys.executable, [sys.executable, "-m", "orchestrator.cli.watching", json.dumps(asked)])
