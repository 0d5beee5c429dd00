"""``${VAR}``, ``~`` and relative paths, in the fields documented for them and nowhere else.

``${VAR:-default}`` takes the default when VAR is unset or empty, ``$$`` is a dollar sign, and a list item that comes
out empty disappears. Relative paths are relative to the folder of the file that says them.
"""

import os.path
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from orchestrator.findings import Findings
from orchestrator.model import Json, Path
from orchestrator.schema_errors import Kind

_REFERENCE = re.compile(r"\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\$\{")

How = Literal["text", "path", "prefix", "link"]
_Fields = How | list[How] | Mapping[str, Any]
"""What is expanded: a text, or each of a list (a text in its place likewise), or these fields of a section."""

# "prefix" is a path only when it has a slash (a conda name has none), "link" unless it is a URL. Any other key: "*".
_FIELDS: dict[Kind, _Fields] = {
    "profile": {"model": {"path": "path", "repo": "text"}, "serve": {"host": "text"}},
    "environment": {
        "runtime": {"venv": "path", "conda": "prefix", "find_links": ["link"], "*": ["text"]},
        "cuda": {"home": "path"},
        "cache": {"hf_home": "path"},
        "env": {"*": "text"},
        "secrets": {"*": {"file": "path"}},
    },
}
_MAY_BE_EMPTY = (("cuda", "home"), ("cache", "hf_home"), ("runtime", "torch_backend"), ("runtime", "python"))


def references(text: str) -> set[str]:
    """The variables that a document names, wherever it does."""
    return {name for found in _REFERENCE.finditer(text) if (name := found[1])}


@dataclass(frozen=True, slots=True)
class Expander:
    """``folder`` is what relative paths start from, absolute; ``variables`` stands for the process environment."""

    kind: Kind
    variables: Mapping[str, str]
    folder: str
    findings: Findings

    def expand(self, value: Json) -> Json:
        """A copy of ``value`` with its documented fields expanded; what cannot be is added to the findings. The other
        fields are those of ``value`` itself."""
        return self._walk(value, _FIELDS[self.kind], ())

    def _walk(self, value: Json, fields: _Fields, path: Path) -> Json:
        if isinstance(value, dict) and isinstance(fields, dict):
            return {
                key: self._walk(one, how, (*path, key)) if (how := fields.get(key) or fields.get("*")) else one
                for key, one in value.items()
            }
        if isinstance(value, list) and isinstance(fields, list):
            items = [(one, self._walk(one, fields[0], (*path, i))) for i, one in enumerate(value)]
            return [new for old, new in items if new != "" or old == ""]
        if isinstance(value, str) and isinstance(fields, str | list):
            return self._text(value, path, fields if isinstance(fields, str) else fields[0])
        return value

    def _text(self, value: str, path: Path, how: How) -> str:
        before = len(self.findings.paths)
        text = _REFERENCE.sub(lambda found: self._reference(found, path), value)
        required = path[0] != "env" and path not in _MAY_BE_EMPTY and not isinstance(path[-1], int)
        if not text and value and required and before == len(self.findings.paths):
            do = "set the variable, or write the value"
            self.findings.add(path, f"{value} comes out empty", do, code="empty-value")
        is_path = how == "path" or (how == "prefix" and "/" in text) or (how == "link" and "://" not in text)
        return self._absolute(text, path) if text and is_path else text

    def _reference(self, found: re.Match[str], path: Path) -> str:
        if found[0] == "$$":
            return "$"
        if found[0] == "${":
            do = "write ${NAME}, ${NAME:-default}, or $${ for the text"
            self.findings.add(path, '"${" starts no variable', do, code="bad-reference")
            return ""
        value = self._variable(found[1], path)
        if value is None and found[2] is None:
            do = f"set it, or write ${{{found[1]}:-DEFAULT}}"
            self.findings.add(path, f"the variable {found[1]} is not set", do, code="variable-unset")
        return value or found[2] or ""

    def _variable(self, name: str, path: Path) -> str | None:
        value = self.variables.get(name)
        if value and any(unicodedata.category(one) in ("Cc", "Cs") for one in value):
            why = f"the variable {name} holds a line break, a control character or what is not UTF-8"
            self.findings.add(path, why, "set it to plain text", code="variable-unusable")
            return ""
        return value

    def _absolute(self, text: str, path: Path) -> str:
        if text == "~" or text.startswith("~/"):
            home = self._variable("HOME", path) or ""
            if not self.variables.get("HOME"):
                why = "~ stands for $HOME, which is not set"
                self.findings.add(path, why, "write the path out", code="variable-unset")
            text = home + text[1:]
        return os.path.normpath(os.path.join(self.folder, text))  # noqa: PTH118 (pathlib does not fold "..")
