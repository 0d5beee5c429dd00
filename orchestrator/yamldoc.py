"""One YAML 1.2 (core schema) document as plain values, with the place of every value.

Built from the parser's events, never by composing or constructing: those recurse, resolve YAML 1.1's surprises (``no``
is false, ``012`` is ten, ``1:30`` is ninety) and know tags that run code. Good files are read by PyYAML's parser in C,
which takes a thirtieth of the time. What that refuses, and what the two parsers do not read alike, is read by the one
in Python, whose error messages do not depend on how PyYAML was built. May raise ``InputError`` and nothing else, and
never shows a value in it: that could be a secret someone pasted.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from orchestrator.errors import InputError
from orchestrator.model import Json, Path, Scalar

MAX_BYTES = 1 << 20  # of a file; whoever reads it checks. Also the most text aliases may expand to.
MAX_DEPTH = 64
MAX_NODES = 20_000

# Patterns, not compiled before a text needs them: it takes as long as reading fifty files.
_UNPRINTABLE = "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
_FOR_PYTHON = "[^\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
_ASCII_FOR_PYTHON = re.compile("[^\n\x20-\x7e]")
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_OCTAL_OR_HEX = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+|[0-9]+\.[0-9]*)")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_NUMERIC = frozenset("+-.0123456789")  # what those three begin with
_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}

# What PyYAML says -> why, and what to do, for a person. Matched as substrings, in this order.
_PLAIN_WORDS = (
    ("mapping values are not allowed", 'a ":" stands where no key can be', "indent the line, or quote the text"),
    ("expected <block end>", "this line does not line up with the lines above it", "indent it like them"),
    ("could not find expected ':'", 'this line has no ":" after its key', "write KEY: VALUE"),
    ("found character '\\t'", "a tab stands where only spaces may", "indent with spaces"),
    ("that cannot start any token", "a text cannot start with this character", "quote the text"),
    ("found unexpected end of stream", "the quote that opens here is never closed", "close it"),
    ("found unexpected document separator", "the quote that opens here is never closed", "close it"),
    ("expected ',' or ']'", 'a "," or a "]" is missing in the list', "add it"),
    ("expected ',' or '}'", 'a "," or a "}" is missing in the section', "add it"),
    ("entries are not allowed here", 'a "-" cannot stand here', "put the item on its own line, or quote the text"),
    ("expected the node content", "a value is missing here", "write one"),
    ("expected alphabetic or numeric", 'a text cannot start with "&" or "*"', "quote the text"),
    ("unknown escape character", "an unknown escape stands in the double quotes", "use single quotes"),
    ("expected escape sequence", "a broken escape stands in the double quotes", "use single quotes"),
    ("expected '<document start>'", "something stands after the end of the document", "remove it"),
)
_AT_CONTEXT = ("could not find expected ':'", "found unexpected end", "found unexpected document separator")

_LINES_FOR_PYTHON = ("---", "...", "%")
_BEGINNING = re.compile(r"(?:(?:#[^\n]*)?\n)*---\n")  # and the first mark of a document is no trouble to either
_BLOCK_FOR_PYTHON = re.compile(r"[|>][-+0-9]*#")
_VALUES = frozenset(("AliasEvent", "ScalarEvent", "SequenceStartEvent", "MappingStartEvent"))
_ENDS = frozenset(("SequenceEndEvent", "MappingEndEvent"))


@dataclass(frozen=True, slots=True)
class Document:
    """``positions``: path -> (line, column), 1-based; a mapping's value stands where its key does. ``plain``: the
    unquoted scalars as they are written, for whoever must tell ``no`` from ``"no"`` or keep the zeros of ``1.10``."""

    value: Json
    positions: Mapping[Path, tuple[int, int]] = field(default_factory=dict)
    plain: Mapping[Path, str] = field(default_factory=dict)


def parse(text: str, file: str) -> Document:
    """The one document in ``text``; InputError with ``at="FILE:LINE:COL"`` for whatever is wrong with it."""
    text = text.removeprefix("\ufeff")
    return quick(text) or careful(text, file)


def quick(text: str) -> Document | None:
    """By the parser in C; None for whatever is not sure to be a good document, and to be the same to ``careful``."""
    import yaml

    if not yaml.__with_libyaml__ or len(text) > MAX_BYTES or _differs(text):
        return None
    try:
        return _simple(yaml.CSafeLoader(text).get_event)
    except (_Unsure, yaml.YAMLError, ValueError, OverflowError):
        return None


class _Unsure(Exception):
    """It may be good or not: that takes the longer way."""


def _simple(next_event: Callable[[], Any]) -> Document:
    """A section straight from its events: without anchors, aliases and tags, nothing has to be kept for later."""
    positions: dict[Path, tuple[int, int]] = {}
    plain: dict[Path, str] = {}
    root: Json = None
    here: Json = None
    path: Path = ()
    around: list[tuple[Json, Path]] = []
    key: str | None = None  # that waits for its value, which stands at ``place``
    place = (1, 1)
    while (event := next_event()) is not None:
        kind = type(event).__name__
        if kind in _ENDS:
            here, path = around.pop()
        if kind not in _VALUES:
            continue
        mark = event.start_mark
        value, at = _simple_value(kind, event), (mark.line + 1, mark.column + 1)
        if type(here) is dict and key is None:
            key, place = _simple_key(value, here), at
            continue
        inner = path
        if type(here) is dict and key is not None:
            inner, at = (*path, key), place
            here[key], key = value, None
        elif type(here) is list:
            inner = (*path, len(here))
            here.append(value)
        else:
            root = _simple_root(value, root)
        positions[inner] = at
        if kind != "ScalarEvent":
            around.append((here, path))
            here, path = value, inner
        elif event.implicit[0]:
            plain[inner] = event.value
    if root is None or 2 * len(positions) > MAX_NODES or max(map(len, positions)) >= MAX_DEPTH:
        raise _Unsure
    return Document(root, positions, plain)


def _simple_root(value: Json, before: Json) -> Json:
    if type(value) is not dict or before is not None:
        raise _Unsure
    return value


def _simple_key(key: Json, mapping: Mapping[str, Json]) -> str:
    if type(key) is not str or key in mapping or key == "<<":
        raise _Unsure
    return key


def _simple_value(kind: str, event: Any) -> Json:
    if kind == "AliasEvent" or event.anchor or event.tag is not None:
        raise _Unsure
    if kind != "ScalarEvent":
        return {} if kind == "MappingStartEvent" else []
    text: str = event.value
    if event.implicit[0]:
        return _resolved(text)
    if "\0" in text or not text.isascii():
        raise _Unsure
    return text


def _differs(text: str) -> bool:
    """Where the parser in C is the more lenient, or sees other lines."""
    odd = _ASCII_FOR_PYTHON.search(text) if text.isascii() else re.search(_FOR_PYTHON, text)
    if odd or _BLOCK_FOR_PYTHON.search(text):
        return True
    start = found.end() if (found := _BEGINNING.match(text)) else 0
    if any(text.startswith(mark, start) or text.find(f"\n{mark}", start) >= 0 for mark in _LINES_FOR_PYTHON):
        return True
    return "?" in text and not all(map(_only_in_comment, (line for line in text.split("\n") if "?" in line)))


def _only_in_comment(line: str) -> bool:
    """Whether each "?" is, for sure. A text in a flow collection ends at one, to the parser in Python."""
    before, through = line[: line.index("?")], line[: line.rindex("?")]
    return (before.startswith("#") or " #" in before) and not {"'", '"'} & set(through)


def careful(text: str, file: str) -> Document:
    """By the parser in Python."""
    import yaml

    _refuse_unprintable(text, file)
    builder = _Builder(file)
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        _refuse_syntax(error, file)
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # \UFFFFFFFF and such reach chr() unchecked
        why = "a broken escape or directive stands in it"
        raise InputError("read YAML", why, "remove it", file, "yaml-syntax") from error
    if builder.root is None:
        raise InputError("read YAML", "the document is empty", "", f"{file}:1:1", "empty-value")
    return _expand(builder.root, file)


@dataclass(slots=True)
class _Node:
    """A value before its aliases are expanded; ``at`` is its own place, ``plain`` its text if it has no quotes."""

    value: "Scalar | list[_Node] | dict[str, tuple[tuple[int, int], _Node]]"
    at: tuple[int, int]
    plain: str | None = None
    open: bool = False


class _Builder:
    """Turns events into nodes with a stack of its own, so that depth costs no recursion."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.root: _Node | None = None
        self.stack: list[_Node] = []
        self.keys: list[tuple[str, tuple[int, int]] | None] = []  # a mapping's key that waits for its value
        self.anchors: dict[str, _Node] = {}
        self.nodes = 0

    def take(self, event: Any) -> None:
        kind = type(event).__name__
        if kind in _VALUES:
            mark = event.start_mark
            self.add(kind, event, (mark.line + 1, mark.column + 1))
        elif kind in _ENDS:
            self.stack.pop().open = False
            self.keys.pop()
        elif kind == "DocumentStartEvent" and self.root is not None:
            at = (event.start_mark.line + 1, event.start_mark.column + 1)
            self.refuse(at, "it holds several documents", 'keep one, and remove the "---" between them')

    def add(self, kind: str, event: Any, at: tuple[int, int]) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            self.refuse(at, f"it holds more than {MAX_NODES:,} values", code="too-large")
        stack, keys = self.stack, self.keys
        if stack and keys[-1] is None and isinstance(stack[-1].value, dict):
            if kind != "ScalarEvent":
                self.refuse(at, "a key must be text", "quote it")
            keys[-1] = (self.key(self.node(kind, event, at)), at)
            return
        node = self.node(kind, event, at)
        self.place(node)
        if node.open:
            stack.append(node)
            keys.append(None)
            if len(stack) > MAX_DEPTH:
                self.refuse(at, f"it is nested more than {MAX_DEPTH} deep", code="too-large")

    def node(self, kind: str, event: Any, at: tuple[int, int]) -> _Node:
        if kind == "AliasEvent":
            return self.alias(event.anchor, at)
        if event.tag is not None:
            self.refuse(at, "a tag (!) is not allowed", "write the value without it, or quote the text")
        if kind == "ScalarEvent":
            node = self.scalar(event, at)
        else:
            node = _Node({} if kind == "MappingStartEvent" else [], at, open=True)
        if event.anchor:
            self.anchors[event.anchor] = node
        return node

    def alias(self, name: str, at: tuple[int, int]) -> _Node:
        node = self.anchors.get(name)
        if node is None:
            self.refuse(at, "this alias (*) has no anchor (&) before it", "quote it if it is text")
        if node.open:
            self.refuse(at, "this alias (*) contains itself")
        return node

    def scalar(self, event: Any, at: tuple[int, int]) -> _Node:
        if event.implicit[0]:  # neither quotes nor a tag nor a block indicator
            try:
                return _Node(_resolved(event.value), at, plain=event.value)
            except ValueError as error:
                self.refuse(at, str(error), "quote it if it is text")
        try:  # JSON writes what is beyond U+FFFF as two escapes, and YAML's parser leaves them two
            text = event.value.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self.refuse(at, "half of a surrogate pair stands in the text")
        if "\0" in text:
            self.refuse(at, "a NUL character stands in the text")
        return _Node(text, at)

    def key(self, node: _Node) -> str:
        if not isinstance(node.value, str):
            self.refuse(node.at, f"the key {_short(node.plain or '')!r} is not text", "quote it")
        if node.plain == "<<":
            self.refuse(node.at, "merge keys (<<) are not part of YAML 1.2", "write the keys out")
        mapping = self.stack[-1].value
        assert isinstance(mapping, dict)
        if node.value in mapping:
            first = mapping[node.value][0][0]
            why = f"the key {_short(node.value)} is already on line {first}"
            self.refuse(node.at, why, "remove one of the two", code="duplicate-key")
        return node.value

    def place(self, node: _Node) -> None:
        if not self.stack:
            self.root = node
            return
        parent, key = self.stack[-1].value, self.keys[-1]
        if isinstance(parent, list):
            parent.append(node)
        elif isinstance(parent, dict) and key is not None:
            parent[key[0]] = (key[1], node)
            self.keys[-1] = None

    def refuse(self, at: tuple[int, int], why: str, do: str = "", code: str = "yaml-unsupported") -> NoReturn:
        raise InputError("read YAML", why, do, f"{self.file}:{at[0]}:{at[1]}", code)


def _resolved(text: str) -> Scalar:
    """YAML 1.2's core schema, without numbers that no field could hold (ValueError says why); everything else is
    text."""
    if text[:1] not in _NUMERIC:
        return _WORDS.get(text, text)
    if _NOT_FINITE.fullmatch(text):
        raise ValueError(f"{text} is not a finite number")
    number: int | float | None = None
    if _INT.fullmatch(text) and len(text) < 40:
        number = int(text)
    elif _OCTAL_OR_HEX.fullmatch(text) and len(text) < 40:
        number = int(text, 0)
    elif _INT.fullmatch(text) or _OCTAL_OR_HEX.fullmatch(text) or _FLOAT.fullmatch(text):
        number = float(text) if _FLOAT.fullmatch(text) else math.inf
    if number is None:
        return text
    if (isinstance(number, int) and abs(number) >= 1 << 63) or number in (math.inf, -math.inf):
        raise ValueError("this number is too large")
    return number


def _expand(root: _Node, file: str) -> Document:
    """Values of their own for every alias; limited in nodes, depth and text, so that no few lines become gigabytes."""
    positions: dict[Path, tuple[int, int]] = {}
    plain: dict[Path, str] = {}
    holder: dict[str, Json] = {}
    size = 0
    work: list[tuple[Path, _Node, tuple[int, int], Any, str]] = [((), root, root.at, holder, "root")]
    while work:
        path, node, at, container, key = work.pop()
        positions[path] = at
        size += len(key) + (len(node.value) if isinstance(node.value, str) else 0)
        if len(positions) > MAX_NODES or size > MAX_BYTES or len(path) > MAX_DEPTH:
            why = "its aliases (*) make it too large: a file stands for at most "
            why += f"{MAX_NODES:,} values, 1 MiB of text and {MAX_DEPTH} levels"
            line, column = positions[path[:1]]  # of the outermost one: where the aliases point at says little
            raise InputError("read YAML", why, "write the values out", f"{file}:{line}:{column}", "too-large")
        if node.plain is not None:
            plain[path] = node.plain
        value: Json = node.value
        if isinstance(node.value, list):
            value = []
            work += [((*path, i), child, child.at, value, "") for i, child in reversed([*enumerate(node.value)])]
        elif isinstance(node.value, dict):
            value = {}
            work += [((*path, k), child, place, value, k) for k, (place, child) in reversed(node.value.items())]
        if isinstance(container, list):
            container.append(value)
        else:
            container[key] = value
    return Document(holder["root"], positions, plain)


def _refuse_unprintable(text: str, file: str) -> None:
    found = re.search(_UNPRINTABLE, text)
    if found is None:
        return
    line = text.count("\n", 0, found.start()) + 1
    column = found.start() - text.rfind("\n", 0, found.start())
    name = f"the control character U+{ord(found[0]):04X}"
    why, at = f"{name} stands in it", f"{file}:{line}:{column}"
    raise InputError("read YAML", why, "is it a text file?", at, "yaml-syntax")


def _refuse_syntax(error: Any, file: str) -> NoReturn:
    problem = str(error.problem or error.context or "it is not YAML")
    mark = error.problem_mark or error.context_mark
    if error.context_mark and any(part in problem for part in _AT_CONTEXT):
        mark = error.context_mark  # PyYAML notices these at the end of the file, far from where they began
    at = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else file
    for part, why, do in _PLAIN_WORDS:
        if part in problem:
            raise InputError("read YAML", why, do, at, "yaml-syntax") from error
    raise InputError("read YAML", _short(problem), "", at, "yaml-syntax") from error


def _short(text: str) -> str:
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= 60 else text[:57] + "..."
