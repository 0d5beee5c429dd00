"""docs/troubleshooting.md, made of the catalogue."""

import re
from collections.abc import Iterable, Mapping

from orchestrator.diagnosis.cure import ENVIRONMENT, diff
from orchestrator.diagnosis.model import Cure, Signature
from orchestrator.diagnosis.text import OWN, url
from orchestrator.model import Scalar

_HEAD = f"""\
<!-- Made by `python -m orchestrator.diagnosis_data`; edit orchestrator/diagnosis/data/failures-*.toml instead. -->

# When an engine does not come up

What orch knows about failures of vLLM: what each means, what it looks like in the log, and what cures it. `orch explain
NAME` names the one that a deployment died of, `orch explain FILE` reads any log of vLLM. A value in braces is computed
from the log, or from the deployment.

A failure that is missing here: write its signature, five lines, into a file `{OWN}/NAME.toml` (where
`XDG_CONFIG_HOME` is set, under that instead of `~/.config`), and it is known from then on.

```toml
[[signature]]
id = "tokenizer-of-stone"
title = "the tokenizer is made of stone"
means = "The model's tokenizer is a rock. It came with the download."
patterns = ['PetrifiedError: .+']
advice = "take another model"
```
"""


def page(catalogue: Iterable[tuple[str, Iterable[Signature]]]) -> str:
    """The whole page, of the signatures by the heading they stand under."""
    sections = [(heading, list(signatures)) for heading, signatures in catalogue]
    contents = [
        f"- [{heading}](#{_anchor(heading)}): " + ", ".join(f"[{one.id}](#{_anchor(one.id)})" for one in signatures)
        for heading, signatures in sections
    ]
    parts = [_HEAD, "\n".join(contents) + "\n"]
    for heading, signatures in sections:
        parts += [f"## {heading}\n", *map(_entry, signatures)]
    return "\n".join(parts)


def _anchor(heading: str) -> str:
    return re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")


def _entry(signature: Signature) -> str:
    lines = [f"### {signature.id}\n", f"**{_sentence(signature.title)}** {_text(signature.means)}\n"]
    if signature.example:
        shown = _telling(signature)
        lines.append(f"```text\n{shown}\n```\n")
    cure = _cure(signature.cure)
    if cure:
        lines.append(f"Cure:\n\n{cure}")
    again = "Another start ends the same way." if signature.final else "Another start may succeed."
    issues = ", ".join(f"[{issue}]({url(issue)})" for issue in signature.issues)
    lines.append(f"{again} Seen in {issues}.\n" if issues else f"{again}\n")
    return "\n".join(lines)


def _telling(signature: Signature) -> str:
    patterns = (*signature.patterns, *signature.last, *signature.hints)
    lines = [line.strip() for line in signature.example.strip().split("\n")]
    return next((line for line in lines if any(one.search(line) for one in patterns)), lines[-1])


def _cure(cure: Cure) -> str:
    parts = []
    changes: Mapping[str, Scalar] = {**cure.set, **dict.fromkeys(cure.remove)}
    if changes:
        body = "\n".join(_bare(line) for line in diff(changes, {}))
        parts.append(f"```diff\n{body}\n```\n")
    if cure.command:
        either = cure.command.replace("][", "]\n[")  # one of these, by what is known
        parts.append(f"```sh\n{_braces(either)}\n```\n")
    if cure.advice:
        parts.append(f"{_sentence(cure.advice)}\n")
    return "\n".join(parts)


def _bare(line: str) -> str:
    """A place is shown as it is, without the quotes that YAML would want around it."""
    return re.sub(r'"(\{[\w.]+\})"', r"\1", line).replace(f"# {ENVIRONMENT}", "# ")


def _braces(text: str) -> str:
    return re.sub(r"\[([^\[\]]*\{[\w.]+\}[^\[\]]*)\]", r"\1", text)


def _sentence(text: str) -> str:
    return f"{_text(text[0].upper() + text[1:])}."


def _text(text: str) -> str:
    return _braces(text).replace("<", "&lt;").replace("*", r"\*")
