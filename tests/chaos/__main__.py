"""`python -m tests.chaos [--runs N] [--seed S] [--scenario NAME]`: N runs, each scenario in its turn, each turn with
the next seed. A run that fails is printed with the command that repeats it."""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count, islice
from pathlib import Path

from chaos.mounts import Missing
from chaos.runs import QUICK, SCENARIOS, play
from chaos.scene import Workshop

RUNS = 200


def main() -> int:
    asked = _arguments()
    failed: list[str] = []
    with ExitStack() as opened:
        folder = asked.workshop or opened.enter_context(tempfile.TemporaryDirectory(prefix="chaos-"))
        workshop = Workshop.open(Path(folder))
        for run, (name, seed) in enumerate(islice(_turns(asked.scenario, asked.seed), asked.runs), 1):
            if not _passes(f"{run}/{asked.runs}", name, seed, workshop):
                failed.append(f"{Path(sys.executable).name} -m tests.chaos --runs 1 --scenario {name} --seed {seed}")
    _say(f"{asked.runs - len(failed)} of {asked.runs} runs held")
    for command in failed:
        _say(f"again: {command}")
    return 1 if failed else 0


def _turns(only: str | None, seed: int) -> Iterator[tuple[str, int]]:
    """Each scenario with the first seed, then with the next; what takes a minute only once."""
    for turn in count():
        for name in [only] if only else QUICK if turn else SCENARIOS:
            yield name, seed + turn


def _passes(which: str, name: str, seed: int, workshop: Workshop) -> bool:
    began = time.monotonic()
    try:
        play(name, seed, workshop)
    except Missing as why:
        _say(f"{which} {name} skipped: {why}")
        return True
    except AssertionError as error:
        _say(f"{which} {name} seed {seed} FAILED after {time.monotonic() - began:.1f} s\n{error}")
        return False
    _say(f"{which} {name} seed {seed} ok, {time.monotonic() - began:.1f} s")
    return True


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--seed", type=int, default=int(time.time()) % 100_000, help="of the first turn")
    parser.add_argument("--scenario", choices=sorted(SCENARIOS))
    parser.add_argument("--workshop", help=argparse.SUPPRESS)  # of the run that this one is part of
    return parser.parse_args()


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 (its whole purpose)


if __name__ == "__main__":
    sys.exit(main())
