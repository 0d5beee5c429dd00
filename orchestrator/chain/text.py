"""What `orch doctor` prints."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from orchestrator.chain.facts import Finding
from orchestrator.model import Json, Mend
from orchestrator.render import VERSION, mend_lines

WIDTH = 11  # of the longest status


@dataclass(frozen=True, slots=True)
class Section:
    """The findings of the machine (``environment`` None) or of one environment; ``title`` is for a person."""

    title: str
    findings: tuple[Finding, ...]
    environment: str | None = None


def report_text(sections: Sequence[Section]) -> str:
    lines: list[str] = []
    for section in sections:
        lines += [section.title, *_rows(section.findings), ""]
    return "\n".join([*lines, _sum(sections)])


def _rows(findings: Iterable[Finding]) -> Iterator[str]:
    """One a finding, with its next step below; what was not looked at for one reason is one row."""
    for passed, some in groupby(findings, key=lambda one: (one.status, one.found) if _passed_over(one) else None):
        group = list(some)
        if passed:
            yield _row(group[0], ", ".join(dict.fromkeys(one.link for one in group)))
        else:
            for one in group:
                yield _row(one, one.link)
                if one.do:
                    yield f"  {'':<{WIDTH}}  -> {one.do}"


def _passed_over(one: Finding) -> bool:
    return one.status in {"not checked", "not needed"} and not one.where and not one.do


def _row(one: Finding, links: str) -> str:
    return f"  {one.status:<{WIDTH}}  {links}: {one.found}{f' [{one.where}]' if one.where else ''}"


def _sum(sections: Sequence[Section]) -> str:
    found = [one for section in sections for one in section.findings]
    bad, warned = ([one for one in found if one.status == status] for status in ("bad", "warning"))
    warnings = f"{len(warned)} {'warning' if len(warned) == 1 else 'warnings'}" if warned else ""
    if not bad:
        return f"Nothing is bad; {warnings}." if warnings else "Nothing is bad."
    words = ", ".join(part for part in (f"{len(bad)} bad", warnings) if part)
    fixable = len([one for one in bad if one.fixable])
    return f"{words}; `orch doctor --fix` mends {fixable} of them." if fixable else f"{words}."


def report_json(sections: Sequence[Section], mended: Sequence[Mend] = (), failed: Sequence[str] = ()) -> Json:
    """``mended`` is what this call has laid and proven, ``failed`` what it could not."""
    return {
        "version": VERSION,
        "good": not failed and not any(one.status == "bad" for section in sections for one in section.findings),
        "findings": [_finding_json(one, section.environment) for section in sections for one in section.findings],
        "mended": [_mend_json(one) for one in mended],
        "failed": list(failed),
    }


def _finding_json(one: Finding, environment: str | None) -> Json:
    return {
        "environment": environment,
        "link": one.link,
        "status": one.status,
        "found": one.found,
        "where": one.where,
        "do": one.do,
        "fixable": one.fixable,
    }


def _mend_json(one: Mend) -> Json:
    return {
        "environment": one.environment,
        "folder": one.laid.folder,
        "target": one.laid.target,
        "why": list(one.why),
        "before": dict(one.before),
        "after": dict(one.after),
    }


def mended_text(one: Mend) -> str:
    """Before it is done."""
    return "\n".join([*mend_lines(one), f"laying links in {one.laid.folder} to {one.laid.target}"])
