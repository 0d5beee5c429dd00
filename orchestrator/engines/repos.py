"""Which repositories on the Hub a spec's command line names, for the engine runs offline: all of them have to be here
first. Pure; the rules are vLLM's (engine/arg_utils.py, config/speculative.py, lora/utils.py).
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from orchestrator.model import Json, RepoUse, Spec

_REPO = re.compile(r"[A-Za-z0-9_][\w.-]*/[A-Za-z0-9_][\w.-]*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")


def repos(spec: Spec) -> tuple[RepoUse, ...]:
    """Each repository once a revision and part, in the order of the command line."""
    found: dict[tuple[str, str, str], RepoUse] = {}
    for use in _named(spec):
        found.setdefault((use.repo, use.revision, use.wants), use)
    return tuple(found.values())


def is_commit(revision: str | None) -> bool:
    return bool(revision and _COMMIT.fullmatch(revision))


def with_commits(spec: Spec) -> Spec:
    """The spec as the engine is told it: every revision that a flag can say, as the commit it was resolved to."""
    args = dict(spec.serve.args)
    model = replace(spec.model, revision=spec.commits.get("model", spec.model.revision))
    if "tokenizer" in spec.commits:
        args["tokenizer_revision"] = spec.commits["tokenizer"]
    if "draft" in spec.commits:
        args["speculative_config"] = {**_mapping(args["speculative_config"]), "revision": spec.commits["draft"]}
    return replace(spec, model=model, serve=replace(spec.serve, args=args))


def code_repos(config: Json, revision: str = "main") -> tuple[RepoUse, ...]:
    """The repositories that a model's config.json takes its code from: ``auto_map`` values OWNER/NAME--module.Class."""
    values = config.get("auto_map") if isinstance(config, dict) else None
    texts = values.values() if isinstance(values, dict) else ()
    flat = [one for text in texts for one in (text if isinstance(text, list) else [text]) if isinstance(one, str)]
    names = sorted({text.partition("--")[0] for text in flat if "--" in text})
    return tuple(RepoUse(f"code of {name}", name, revision, "code") for name in names if _REPO.fullmatch(name))


def trusts_code(spec: Spec) -> bool:
    return spec.serve.args.get("trust_remote_code") is True


def _named(spec: Spec) -> Iterator[RepoUse]:
    args, model = spec.serve.args, spec.model
    load_format = str(args.get("load_format", "auto"))
    if model.repo:
        name, _, variant = model.repo.partition(":")
        yield RepoUse("model", name, model.revision or "main", "weights", load_format, variant)
    if tokenizer := _repo(args.get("tokenizer")):
        yield RepoUse("tokenizer", tokenizer, str(args.get("tokenizer_revision") or "main"), "texts")
    for flag in ("hf_config_path", "generation_config"):
        if name := _repo(args.get(flag)):
            yield RepoUse(flag, name, wants="texts")
    draft = _mapping(args.get("speculative_config"))
    if name := _repo(draft.get("model")):
        yield RepoUse("draft", name, str(draft.get("revision") or "main"), load_format=load_format)
    if name := _repo(args.get("spec_model")):
        yield RepoUse("spec_model", name, load_format=load_format)
    for name in _adapters(args.get("lora_modules")):
        yield RepoUse(f"adapter {name}", name)


def _adapters(value: Json) -> Iterator[str]:
    """Of ``--lora-modules``: NAME=PATH, or an object with a path, as text or not; one of them or a list."""
    for one in value if isinstance(value, list | tuple) else [value]:
        text = str(one).partition("=")[2] if isinstance(one, str) and not one.lstrip().startswith("{") else None
        if name := _repo(text or _mapping(one).get("path")):
            yield name


def _repo(value: Json) -> str:
    """The text if it is OWNER/NAME: a folder is given to the engine by its full path."""
    return value if isinstance(value, str) and _REPO.fullmatch(value) else ""


def _mapping(value: Json) -> Mapping[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    return value if isinstance(value, Mapping) else {}
