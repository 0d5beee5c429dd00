"""The order of an engine's versions, and which of those that are known stands in for another. Pure."""

import re
from collections.abc import Iterable

_VERSION = re.compile(
    r"v?(?P<release>\d+(?:\.\d+)*)"
    r"(?:[-_.]?(?P<pre>a|b|rc|alpha|beta|c)[-_.]?(?P<pre_n>\d*))?"
    r"(?:[-_.]?(?P<post>post|rev|r)[-_.]?(?P<post_n>\d*))?"
    r"(?:[-_.]?dev[-_.]?(?P<dev>\d*))?"
    r"(?:\+(?P<local>[\w.-]+))?",
    re.ASCII,
)
_PRE = {"a": 0, "alpha": 0, "b": 1, "beta": 1, "c": 2, "rc": 2}
_LAST = 1 << 62  # after every number that a version holds

Order = tuple[tuple[int, ...], int, int, int, int]


def order(version: str) -> Order:
    """Sorts as Python versions do: 0.9 before 0.10, rc before release before post. What follows a plus is a build of
    the same version and does not count. Text that is no version comes first of all."""
    match = _VERSION.fullmatch(version.strip().lower())
    if match is None:
        return ((), 0, 0, 0, 0)
    release = [int(part) for part in match["release"].split(".")]
    while release and release[-1] == 0:
        release.pop()
    post = -1 if match["post"] is None else int(match["post_n"] or 0)
    dev = _LAST if match["dev"] is None else int(match["dev"] or 0)
    if match["pre"] is not None:
        pre, number = _PRE[match["pre"]], int(match["pre_n"] or 0)
    else:
        # 1.0.dev1 comes before 1.0a1, and 1.0 after 1.0rc9.
        pre, number = (-1 if match["dev"] is not None and post < 0 else 3), 0
    return (tuple(release), pre, number, post, dev)


def series(version: str) -> tuple[int, int]:
    """(0, 32) of 0.32.1rc2: versions of one series are closest to each other. (-1, -1) of what is no version."""
    release = order(version)[0]
    return (release[0], (*release, 0)[1]) if release else (-1, -1)


def nearest(wanted: str, known: Iterable[str]) -> str | None:
    """The version itself; else the closest of its series, the older first; else the newest older one; else the oldest.
    The newest of all for what is no version. None when nothing is known."""
    ranked = sorted(known, key=lambda version: (order(version), version))
    if not ranked:
        return None
    at = order(wanted)
    if not at[0]:
        return ranked[-1]
    older = [version for version in ranked if order(version) <= at]
    newer = [version for version in ranked if order(version) > at]
    if older and (series(older[-1]) == series(wanted) or not newer or series(newer[0]) != series(wanted)):
        return older[-1]
    return newer[0]
