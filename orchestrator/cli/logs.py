"""`orch logs`: what engines wrote."""

import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import options

if TYPE_CHECKING:
    from datetime import datetime

    from orchestrator.cli.context import Context
    from orchestrator.cli.log_screen import Screen
    from orchestrator.log_sources import Source
    from orchestrator.log_view import Choice

LOOK_EVERY = 0.2  # seconds between two looks at what is followed, of which each takes some 20 us
NEW_EVERY = 1.0  # seconds between two looks for a new start


def logs(
    names: options.Names = None,
    attempt: Annotated[
        int | None, typer.Option("--attempt", metavar="N", help="Of that start: the number its log's name begins with.")
    ] = None,
    previous: Annotated[bool, typer.Option("--previous", "-p", help="Of the start before the last.")] = False,
    following: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C, after a restart with the new log.")
    ] = False,
    lines: Annotated[
        int | None, typer.Option("--lines", "-n", metavar="N", min=0, help="The last N lines of each.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="WHEN", help="Since then: 10m for the last 10 minutes, or a time.")
    ] = None,
    grep: Annotated[
        str | None, typer.Option("--grep", "-g", metavar="REGEX", help="Lines in which this is found.")
    ] = None,
    errors: Annotated[bool, typer.Option("--errors", help="Errors, with their tracebacks.")] = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="Byte for byte, with every state of progress bars; but no secrets.")
    ] = False,
    root: options.Root = None,
    state_dir: options.StateDir = None,
) -> int:
    """Print what engines wrote: of all deployments, or of these.

    The lines of several are put together by their time, each with the name in front."""
    from orchestrator.cli.context import context
    from orchestrator.cli.log_screen import Screen
    from orchestrator.errors import UsageProblem
    from orchestrator.log_view import Choice, prefixes, together

    if attempt is not None and previous:
        raise UsageProblem("use --previous with --attempt", "both say which start is meant", "leave one out")
    terminal = os.isatty(1) and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    choice = Choice(_since(since), _pattern(grep), errors=errors, raw=raw, codes=terminal)
    logs = _Logs(context(root, state_dir), choice, attempt, previous, following)
    chosen = _chosen(logs.here, names or ())
    sources = logs.open(chosen, lines)
    screen = Screen(prefixes(chosen, coloured=terminal), terminal=terminal)
    try:
        screen.show(together({name: one.begin() for name, one in sources.items()}))
        if following:
            _follow(logs, chosen, sources, screen)
        screen.show(together({name: one.end() for name, one in sources.items()}))
    finally:
        screen.clear()
        for one in sources.values():
            one.close()
    return 0


def _follow(logs: "_Logs", names: Sequence[str], sources: "dict[str, Source]", screen: "Screen") -> None:
    from orchestrator.log_view import together

    look = time.monotonic() + NEW_EVERY
    while True:
        screen.show(together({name: one.more() for name, one in sources.items()}))
        screen.draw(*next(((name, one.drawn) for name, one in sources.items() if one.drawn), (names[0], "")))
        screen.wait(LOOK_EVERY)
        if time.monotonic() < look:
            continue
        look = time.monotonic() + NEW_EVERY
        for name in names:
            old = sources.get(name)
            fresh = logs.newer(name, old.log if old else None)
            if fresh is None:
                continue
            if old:
                screen.show(together({name: [*old.more(), *old.end()]}))
                old.close()
            screen.clear()
            typer.echo(f"{name}: {_beginning(fresh)}", err=True)
            sources[name] = logs.source(name, fresh, None)
            screen.show(together({name: sources[name].begin()}))


@dataclass(frozen=True)
class _Logs:
    """Which log of a deployment is meant."""

    here: "Context"
    choice: "Choice"
    attempt: int | None
    previous: bool
    following: bool

    def open(self, names: Sequence[str], lines: int | None) -> "dict[str, Source]":
        """Raises InputError where none of them has one; says so of one where others have."""
        from orchestrator.errors import InputError, raise_all

        found, missing = {}, []
        for name in names:
            try:
                log = self._pick(name)
            except InputError as none:
                missing.append(none)
                continue
            if not self.following or _holds_something(log):
                found[name] = self.source(name, log, lines)
        if len(missing) == len(names):
            raise_all(missing)
        for error in missing:
            typer.echo(f"orch: {error}", err=True)
        return found

    def source(self, name: str, log: Path, lines: int | None) -> "Source":
        """Its secrets' values, as far as they can be read here, are taken out."""
        from orchestrator.log_parts import is_ours
        from orchestrator.log_sources import Source
        from orchestrator.secret_values import hider

        eyes = self.here.eyes
        record = eyes.state.records().get(name)
        last = record.attempt if record else None
        of_log = eyes.state.attempt(log) if is_ours(log) else last
        known = [one.deployment for one in (of_log, last) if one]
        known += [record.revision.deployment] if record and record.revision else []
        begun = _begun(log, of_log.at if of_log and is_ours(log) else None)
        return Source(log, self.choice, begun, hider(eyes, known), lines)

    def newer(self, name: str, shown: Path | None) -> Path | None:
        """The log of its last start, if that is another one and has begun."""
        from orchestrator.errors import InputError

        if self.attempt is not None or self.previous:
            return None
        try:
            last = self._last(name)
        except InputError:  # it was adopted meanwhile, and writes into no file
            return None
        return last if last and last != shown and _holds_something(last) else None

    def _pick(self, name: str) -> Path:
        from orchestrator.errors import InputError
        from orchestrator.log_parts import number

        kept = self.here.eyes.state.logs(name)
        if self.attempt is not None:
            found = [one for one in kept if number(one) == self.attempt]
            there = ", ".join(str(number(one)) for one in kept)
            do = f"there is {there}" if there else "see `orch status`"
            if not found:
                raise InputError(f"show the log of attempt {self.attempt} of {name}", "it is not kept", do)
            return found[-1]
        if self.previous:
            if len(kept) < 2:
                why = "only one is kept" if kept else "none is kept"
                raise InputError(f"show the previous log of {name}", why, "see `orch status`")
            return kept[-2]
        if last := self._last(name):
            return last
        raise InputError(f"show the log of {name}", "none is kept", "see `orch status`")

    def _last(self, name: str) -> Path | None:
        state = self.here.eyes.state
        record = state.records().get(name)
        if record and record.attempt and record.attempt.adopted:
            return _elsewhere(name, record.attempt.log)
        return next(reversed(state.logs(name)), None)


def _chosen(here: "Context", names: Sequence[str]) -> tuple[str, ...]:
    from orchestrator.cli.deployed import choose, specs

    known = () if names else tuple(sorted(specs(here.eyes)))
    return known or choose(names, here.eyes)


def _elsewhere(name: str, log: str) -> Path:
    """Of an adopted engine: the file that its starter had it write to."""
    from orchestrator.errors import InputError

    if log and Path(log).is_file():
        return Path(log)
    why = f"its starter had it write to {log}, which is gone" if log else "it writes where it was started, to no file"
    raise InputError(f"show the log of {name}", why, f"`orch restart {name}` gives it a log of orch's")


def _beginning(log: Path) -> str:
    from orchestrator.log_parts import is_ours, number

    return f"attempt {number(log)} begins" if is_ours(log) else f"its log is {log}"


def _holds_something(log: Path) -> bool:
    """Before that it is not known where its words will be."""
    from orchestrator.log_parts import parts

    return log.stat().st_size > 0 or bool(parts(log))


def _begun(log: Path, at: float | None) -> "datetime":
    """When its first line was written, at the earliest: stamps name no year."""
    from datetime import datetime, timedelta

    if at is not None:
        return datetime.fromtimestamp(at)
    return datetime.fromtimestamp(log.stat().st_mtime) - timedelta(days=360)


def _since(text: str | None) -> "datetime | None":
    from datetime import datetime, timedelta

    from orchestrator.errors import UsageProblem
    from orchestrator.units import parse_duration

    if text is None:
        return None
    long_ago = datetime(1971, 1, 1)
    try:
        return max(long_ago, datetime.now() - timedelta(seconds=parse_duration(text)))
    except OverflowError:
        return long_ago
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(text)
        return max(long_ago, at.astimezone().replace(tzinfo=None) if at.tzinfo else at)
    except (ValueError, OverflowError):
        why, do = f"{text} is neither a duration nor a time", "write it as 10m, 2h or 2030-01-31T12:00"
        raise UsageProblem("use --since", why, do) from None


def _pattern(text: str | None) -> re.Pattern[str] | None:
    from orchestrator.errors import UsageProblem

    if text is None:
        return None
    try:
        return re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise UsageProblem("use --grep", f"{text} is no regular expression: {error}") from None
