"""What `--watch` does: look again, and draw it anew."""

import sys
import time
from collections.abc import Callable
from typing import NoReturn

import typer

EVERY = 2.0  # seconds


def redraw(look: Callable[[], str]) -> NoReturn:
    """Until Ctrl-C. The screen is cleared only once there is something new to draw, and only on a terminal."""
    while True:
        text = look()
        typer.echo("\x1b[H\x1b[2J" if sys.stdout.isatty() else "", nl=False)
        typer.echo(text)
        time.sleep(EVERY)
