"""What reads logs takes no time for a line that never ends, whatever it holds: an image in base64, say. Where a pattern
goes back and forth, a line of 1 MiB takes minutes; here it takes some 0.1 s."""

import base64
import random
import time
from collections.abc import Callable
from datetime import datetime

import pytest

from orchestrator import diagnosis_data
from orchestrator.diagnosis.errors_of import find
from orchestrator.diagnosis.lines import read
from orchestrator.diagnosis.match import diagnose
from orchestrator.diagnosis.model import Ending
from orchestrator.diagnosis.pieces import Pieces
from orchestrator.diagnosis.stages import replay
from orchestrator.log_view import Choice, View
from orchestrator.stage_data import load_stages

LONG = 1 << 20
BAR = " B/s 1%| 5/7 [00:01<00:02, 3it/s]"
ENOUGH = 10.0  # seconds
STAGES, CATALOGUE = load_stages(), diagnosis_data.load()
IMAGE = base64.b64encode(random.Random(7).randbytes(LONG)).decode()


def view(text: str, choice: Choice) -> None:
    one = View(choice, datetime(2026, 11, 23))
    one.feed(text.encode())
    one.end()


READERS: dict[str, Callable[[str], object]] = {
    "log_view": lambda text: view(text, Choice()),
    "log_view errors": lambda text: view(text, Choice(errors=True)),
    "lines": read,
    "lines drawn over": lambda text: read(text.replace("\n", "\r") + "x"),
    "errors_of": lambda text: find(read(text), Ending()),
    "match": lambda text: diagnose(read(text), Ending(), "load", CATALOGUE),
    "stages": lambda text: replay(STAGES, [text, *Pieces().feed(text.encode())]),
}
UNITS = ["1", " ", "[", "(", "a.", "1%|", ": ", "pid=1)", "it/s] ", "B/s", "12:34", "ERROR ", "1 [0:00<", "lib.so"]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("unit", ["an image", *UNITS])
def test_a_long_line_must_take_no_time(unit: str, reader: str) -> None:
    line = IMAGE[:LONG] if unit == "an image" else (unit * LONG)[:LONG]
    begun = time.process_time()
    READERS[reader](f"{line}{BAR}\n")
    assert time.process_time() - begun < ENOUGH
