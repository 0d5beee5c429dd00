"""The simple commands of a shell script, as far as that can be told without running it. Pure.

For scripts that start an engine: quotes, line continuations, assignments, exports, arrays, ``${VAR:-default}``,
redirections, pipes and here-documents are read; conditions and loops are looked through as if all of it ran once.

What only a running shell could tell (``$1``, ``$(...)``, a variable that is set nowhere in it) stays in the words,
between two NULs, which no argument of a program can hold: see ``pieces``.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from orchestrator.errors import InputError

LONGEST = 64 * 1024  # characters of a script
_DEPTH = 20  # of ${A:-${B:-...}}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(\+?)=")
_REDIRECTION = re.compile(r"(?:[0-9]+|\{\w+\})?(?:<<<|<<-?|<>|<&|>>|>\||>&|>|<)|&>>?")
_BRACED = re.compile(r"([A-Za-z_][A-Za-z0-9_]*|[0-9]+|[@*#?$!-])(\[[@*]\])?(?:(:?[-=?+])(.*))?", re.DOTALL)
_PASSED_ON = ("@", "*")
_DECLARE = ("export", "declare", "typeset", "local", "readonly")
_KEYWORDS = ("if", "then", "else", "elif", "fi", "while", "until", "do", "done", "!", "{", "}", "time")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "e": "\x1b", "f": "\f", "v": "\v"}


@dataclass(frozen=True, slots=True)
class Command:
    """One simple command. ``env`` is what the script hands to it: what was exported before and what stands in front;
    ``kept`` are variables that were set and not exported. ``to`` are the files that its output goes to."""

    words: tuple[str, ...]
    line: int = 1
    env: Mapping[str, str] = field(default_factory=dict)
    kept: Mapping[str, str] = field(default_factory=dict)
    to: tuple[str, ...] = ()


def commands(text: str, variables: Mapping[str, str]) -> tuple[Command, ...]:
    """Every simple command in its order. ``variables`` are the few of the caller that may be put in their places.
    Raises InputError."""
    if len(text) > LONGEST:
        raise InputError(
            "read the command", "it is longer than a script that starts one engine", "give that part of it"
        )
    if "\0" in text:
        raise InputError("read the command", "a NUL character stands in it", "is it a text file?")
    return tuple(_Reader(text.replace("\r\n", "\n"), dict(variables)).read())


def pieces(word: str) -> tuple[tuple[str, bool], ...]:
    """The word in parts, each with whether only a shell could tell what it is: ``$NAME``, ``$(command)``."""
    parts = word.split("\0")
    return tuple((part, bool(i % 2)) for i, part in enumerate(parts) if part or i % 2)


def is_plain(word: str) -> bool:
    return "\0" not in word


def as_written(word: str) -> str:
    return word.replace("\0", "")


class _Reader:
    def __init__(self, text: str, variables: dict[str, str]) -> None:
        self.text, self.at = text, 0
        self.known = variables
        self.arrays: dict[str, list[str]] = {}
        self.exported: dict[str, str] = {}
        self.set: dict[str, str] = {}
        self.all_exported = False
        self.assigning = False
        self.documents: list[tuple[str, bool]] = []
        self._begin()

    def _begin(self) -> None:
        self.words: list[str] = []
        self.front: dict[str, str] = {}
        self.to: list[str] = []
        self.line = 0

    # -------------------------------------------------------------------------------------------------- commands

    def read(self) -> Iterator[Command]:
        while self.at < len(self.text):
            self._blanks()
            char = self._peek()
            if char == "#":
                self._to_line_end()
            elif found := self._redirection():
                self._redirect(found)
            elif char and char in "\n;&|()":
                self.at += 1
                yield from self._end()
                if char == "\n":
                    self._skip_documents()
            elif char:
                self._word()
        yield from self._end()

    def _word(self) -> None:
        self.line = self.line or self._line()
        found = _ASSIGNMENT.match(self.text, self.at)
        if found and (not self.words or self.words[0] in _DECLARE):
            self.at = found.end()
            self._assign(found[1], added=bool(found[2]))
            return
        words = self._fields()
        if not self.words and words and words[0] in _KEYWORDS:
            words = words[1:]
        self.words += words

    def _assign(self, name: str, *, added: bool) -> None:
        if self._peek() == "(":
            items = self._array()
            self.arrays[name] = [*self.arrays.get(name, ()), *items] if added else items
            return
        self.assigning = True
        value = "".join(self._fields(split=False))
        self.assigning = False
        self.front[name] = self.known.get(name, "") + value if added else value

    def _array(self) -> list[str]:
        start, items = self.at, list[str]()
        self.at += 1
        while self._peek() != ")":
            self._blanks()
            char = self._peek()
            if char == "":
                self._refuse("the ( that opens here is never closed", start)
            if char in "\n;&|(<>":
                self.at += 1
            elif char == "#":
                self._to_line_end()
            elif char != ")":
                items += self._fields()
        self.at += 1
        return items

    def _end(self) -> Iterator[Command]:
        words, front = self.words, self.front
        if words and words[0] in _DECLARE:
            self._declare(words[1:], front, exports=words[0] == "export" or "-x" in words)
        elif not words:
            self._declare([], front, exports=self.all_exported)
        else:
            if words[0] == "set":
                self.all_exported = self.all_exported or "-a" in words or "allexport" in words
            elif words[0] == "unset":
                self._unset(words[1:])
            yield Command(tuple(words), self.line, {**self.exported, **front}, dict(self.set), tuple(self.to))
        self._begin()

    def _declare(self, names: list[str], front: Mapping[str, str], *, exports: bool) -> None:
        self.known |= front
        self.set |= front
        for name in [*front, *(name for name in names if name in self.set)]:
            if exports or name in self.exported:
                self.exported[name] = self.known[name]
                self.set.pop(name, None)

    def _unset(self, names: list[str]) -> None:
        for name in names:
            for held in (self.known, self.exported, self.set, self.arrays):
                held.pop(name, None)

    # ---------------------------------------------------------------------------------------------- redirections

    def _redirection(self) -> str:
        found = _REDIRECTION.match(self.text, self.at)
        if not found or self.text.startswith(("<(", ">("), found.end() - 1):
            return ""
        return found[0]

    def _redirect(self, operator: str) -> None:
        self.at += len(operator)
        self._blanks()
        if self._peek() in ("", "\n"):
            return
        target = " ".join(self._fields(split=False))
        if "<<" in operator and not operator.endswith("<<<"):
            self.documents.append((target, operator.endswith("-")))
        elif ">" in operator and not target.isdigit() and target not in ("-", "/dev/null"):
            self.to.append(target)

    def _skip_documents(self) -> None:
        """The text between ``<<END`` and END is no command."""
        for end, tabs in self.documents:
            while self.at < len(self.text):
                start = self.at
                self._to_line_end()
                line = self.text[start : self.at]
                self.at += 1
                if (line.lstrip("\t") if tabs else line) == end:
                    break
        self.documents = []

    # ------------------------------------------------------------------------------------------------------ words

    def _fields(self, *, split: bool = True) -> list[str]:
        """One word of the script, which may become none or several: an unquoted variable is split at its spaces."""
        done: list[str] = []
        text: str | None = None
        if self._peek() == "~" and self.known.get("HOME") and self._peek(1) in ("", "/", " ", "\t", "\n", ";", ":"):
            self.at += 1
            text = self.known["HOME"]
        while (char := self._peek()) and char not in " \t\n;&|()<>":
            start = self.at
            if char == "\\":
                self.at += 2
                escaped = self.text[start + 1 : start + 2]
                if escaped != "\n":
                    text = (text or "") + escaped
            elif char == "'":
                text = (text or "") + self._single(start)
            elif char == '"':
                text, several = self._double(start, text)
                done += several
            elif char in "$`":
                parts = self._expansion()
                if parts is None:  # a lone dollar sign
                    text = (text or "") + "$"
                elif not split:
                    text = (text or "") + " ".join(parts)
                else:
                    text = self._unquoted(" ".join(parts), text, done)
            else:
                self.at += 1
                text = (text or "") + char
        if self.at < len(self.text) and self._peek() in "<>" and self._peek(1) == "(":  # a process as a file
            self.at += 1
            text = (text or "") + self._unknown(self._balanced(self.at, "(", ")"))
        return done if text is None else [*done, text]

    def _unquoted(self, value: str, text: str | None, done: list[str]) -> str | None:
        words = _split(value)
        if not words:
            return text
        if value[0].isspace() and text is not None:
            done.append(text)
            text = None
        words[0] = (text or "") + words[0]
        done += words[:-1]
        if value[-1].isspace():
            done.append(words[-1])
            return None
        return words[-1]

    def _single(self, start: int) -> str:
        end = self.text.find("'", start + 1)
        if end < 0:
            self._refuse("the quote that opens here is never closed", start)
        self.at = end + 1
        return self.text[start + 1 : end]

    def _double(self, start: int, text: str | None) -> tuple[str | None, list[str]]:
        """What stands in double quotes, appended to ``text``; and the words that an array in them ends."""
        done: list[str] = []
        self.at += 1
        only_array = False
        value = text or ""
        while (char := self._peek()) != '"':
            if char == "":
                self._refuse("the quote that opens here is never closed", start)
            if char == "\\":
                following = self._peek(1)
                self.at += 2
                if following != "\n":
                    value += following if following in '$`"\\' else char + following
            elif char in "$`":
                parts = self._expansion()
                if parts is None:
                    value += "$"
                elif parts:
                    done += [value + parts[0], *parts[1:-1]] if len(parts) > 1 else []
                    value = parts[-1] if len(parts) > 1 else value + parts[0]
                else:
                    only_array = True
            else:
                self.at += 1
                value += char
        self.at += 1
        return (None if only_array and not value and text is None else value), done

    # ------------------------------------------------------------------------------------------------- expansions

    def _expansion(self) -> list[str] | None:
        """The words that ``$...`` stands for, one but for arrays; None for a dollar sign that starts nothing."""
        start, following = self.at, self._peek(1)
        if self._peek() == "`":
            end = self.text.find("`", start + 1)
            if end < 0:
                self._refuse("the ` that opens here is never closed", start)
            self.at = end + 1
            return [self._unknown(f"$({self.text[start + 1 : end]})")]
        if following == "(":
            return [self._unknown("$" + self._balanced(start + 1, "(", ")"))]
        if following == "{":
            return self._braced(self._balanced(start + 1, "{", "}")[1:-1], 0)
        if following == "'":
            return [self._ansi(start)]
        if following == '"':
            self.at += 1
            return []
        if found := _NAME.match(self.text, start + 1):
            self.at = found.end()
            return [self._value(found[0])]
        if following and following in "0123456789@*#?$!-":
            self.at += 2
            return [] if following in _PASSED_ON else [self._unknown(f"${following}")]
        self.at += 1
        return None

    def _braced(self, inside: str, depth: int) -> list[str]:
        found = _BRACED.fullmatch(inside)
        if not found or depth > _DEPTH:
            return [self._unknown(f"${{{inside}}}")]
        name, index, operator, word = found.groups()
        if index or name in self.arrays:
            return list(self.arrays.get(name, ()) if index else self.arrays[name][:1])
        if name in _PASSED_ON and not operator:
            return []
        value = self.known.get(name)
        if value is None and self.assigning and operator in (":-", "-") and not word:
            return [self._value(name)]  # PATH=/more:${PATH:-} goes on with the caller's, if it has any
        if operator and operator.lstrip(":") == "+":
            return [self._default(word, depth)] if value else []
        if (
            operator
            and operator.lstrip(":") in ("-", "=")
            and not (value or (value is not None and operator[0] != ":"))
        ):
            return [self._default(word, depth)]
        return [self._value(name)]

    def _default(self, word: str, depth: int) -> str:
        """The word of ``${VAR:-word}``, whose own references are looked up."""
        inner = _Reader(word, self.known)
        inner.arrays = self.arrays
        text = ""
        while inner.at < len(word):
            if word.startswith("${", inner.at):
                text += " ".join(inner._braced(inner._balanced(inner.at + 1, "{", "}")[1:-1], depth + 1))
            elif word[inner.at] in "$`":
                text += " ".join(inner._expansion() or ["$"])
            elif word[inner.at] in "'\"":
                inner.at += 1
            else:
                text += word[inner.at]
                inner.at += 1
        return text

    def _value(self, name: str) -> str:
        if name in self.arrays:
            return next(iter(self.arrays[name]), "")
        return self.known[name] if name in self.known else self._unknown(f"${name}")

    def _ansi(self, start: int) -> str:
        text = ""
        self.at = start + 2
        while (char := self._peek()) != "'":
            if char == "":
                self._refuse("the quote that opens here is never closed", start)
            self.at += 1
            if char == "\\":
                text += _ESCAPES.get(self._peek(), self._peek())
                self.at += 1
            else:
                text += char
        self.at += 1
        return text

    @staticmethod
    def _unknown(text: str) -> str:
        return f"\0{text}\0"

    def _balanced(self, start: int, opening: str, closing: str) -> str:
        """From the bracket at ``start`` to the one that closes it; quotes in between hide theirs."""
        depth, at, quote = 0, start, ""
        while depth or at == start:
            if at >= len(self.text):
                self._refuse(f"the {opening} that opens here is never closed", start)
            char = self.text[at]
            if char == "\\" and quote != "'":
                at += 1
            elif quote:
                quote = "" if char == quote else quote
            elif char in "'\"":
                quote = char
            elif char in (opening, closing):
                depth += 1 if char == opening else -1
            at += 1
        self.at = at
        return self.text[start:at]

    # ------------------------------------------------------------------------------------------------------ places

    def _peek(self, ahead: int = 0) -> str:
        return self.text[self.at + ahead : self.at + ahead + 1]

    def _blanks(self) -> None:
        while self._peek() in (" ", "\t") or self.text.startswith("\\\n", self.at):
            self.at += 1 if self._peek() in (" ", "\t") else 2

    def _to_line_end(self) -> None:
        end = self.text.find("\n", self.at)
        self.at = len(self.text) if end < 0 else end

    def _line(self) -> int:
        return self.text.count("\n", 0, self.at) + 1

    def _refuse(self, why: str, start: int) -> NoReturn:
        line = self.text.count("\n", 0, start) + 1
        column = start - self.text.rfind("\n", 0, start)
        raise InputError("read the command", f"{why} (line {line}, column {column})", "close it")


def _split(text: str) -> list[str]:
    """At the spaces outside of what only a shell could tell."""
    words, current, inside = list[str](), "", False
    for char in text:
        if char == "\0":
            inside = not inside
        if char in " \t\n" and not inside:
            words += [current] if current else []
            current = ""
        else:
            current += char
    return [*words, current] if current else words
