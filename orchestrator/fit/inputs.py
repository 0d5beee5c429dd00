"""What a person wants to ask a model, how many tokens that is, and what is left of its context. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.errors import InputError

TOKENIZER_FILES = (
    "config.json", "tokenizer*", "*.jinja", "chat_template.json", "special_tokens_map.json", "added_tokens.json",
    "vocab*", "merges.txt", "*.model", "*.tiktoken", "tekken.json", "tokenization_*.py", "processor_config.json",
)  # fmt: skip
"""Patterns of what is to be fetched of a repository for counting, and nothing of its weights."""


@dataclass(frozen=True, slots=True)
class Input:
    """A text, or the messages of a request with what else is in the prompt. ``unseen`` parts (images, sounds) are not
    counted."""

    name: str
    text: str | None = None
    messages: tuple[Mapping[str, Any], ...] = ()
    tools: tuple[Any, ...] = ()
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    unseen: int = 0

    def asked(self) -> dict[str, Any]:
        """As the script in the runtime takes it."""
        if self.text is not None:
            return {"text": self.text}
        more = {"tools": list(self.tools) or None, "template_kwargs": dict(self.template_kwargs)}
        return {"messages": [dict(one) for one in self.messages], **more}


@dataclass(frozen=True, slots=True)
class Count:
    """``tokens`` is all that the engine is sent: the text with what the chat template puts around it. ``text`` are
    those of the text alone. ``why`` it could not be counted, if so."""

    tokens: int = 0
    text: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True)
class Counts:
    """One a input, in their order; ``together`` is all of them as one conversation. ``template``: the model has a
    chat template; without one a text is counted as the prompt of a completion."""

    each: tuple[Count, ...]
    together: Count
    template: bool


def read_inputs(name: str, data: bytes) -> tuple[Input, ...]:
    """A plain text is one; so is the JSON of a request (``messages`` or ``prompt``) or a list of messages; of lines of
    requests, also as a batch has them, each is one. Any other JSON is a text. Raises InputError for what is no text."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        why = f"it is no text in UTF-8 (byte {error.start + 1})"
        raise InputError(f"count {name}", why, "convert it, by `iconv -t UTF-8`") from None
    if one := _request(name, _json(text)):
        return (one,)
    lines = [line for line in text.splitlines() if line.strip()]
    if lines[1:] and all(line.lstrip().startswith("{") for line in lines):
        several = [_request(f"{name}:{number}", _json(line)) for number, line in enumerate(lines, 1)]
        found = [one for one in several if one]
        if len(found) == len(several):
            return tuple(found)
    return (Input(name, text),)


def left(context: int, tokens: int, expected: int = 0) -> int:
    """Tokens of ``context`` that are free beside a prompt of ``tokens`` and an answer of ``expected``; below 0: that
    many too few."""
    return context - tokens - expected


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _request(name: str, value: Any) -> Input | None:
    if isinstance(value, dict) and isinstance(value.get("body"), dict):
        value = value["body"]
    if isinstance(value, dict) and isinstance(value.get("prompt"), str):
        return Input(name, value["prompt"])
    body = value if isinstance(value, dict) else {"messages": value}
    if not (messages := _messages(body.get("messages"))):
        return None
    tools, kwargs = body.get("tools"), body.get("chat_template_kwargs")
    return Input(
        name,
        messages=messages,
        tools=tuple(tools) if isinstance(tools, list) else (),
        template_kwargs=kwargs if isinstance(kwargs, dict) else {},
        unseen=sum(_unseen(one.get("content")) for one in messages),
    )


def _messages(value: Any) -> tuple[dict[str, Any], ...]:
    """None, unless it is a list of nothing else."""
    found = tuple(one for one in value if isinstance(one, dict) and "role" in one) if isinstance(value, list) else ()
    return found if found and len(found) == len(value) else ()


def _unseen(content: Any) -> int:
    parts: Sequence[Any] = content if isinstance(content, list) else ()
    return sum(isinstance(part, dict) and part.get("type") != "text" for part in parts)
