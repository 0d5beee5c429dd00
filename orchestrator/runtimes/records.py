"""RuntimeInfo as JSON, in the mark of a built runtime and in the memory of one that was looked into."""

from dataclasses import asdict

from orchestrator.model import Json, RuntimeInfo


def info_to_json(info: RuntimeInfo) -> Json:
    return {**asdict(info), "program": list(info.program), "env": dict(info.env)}


def info_from_json(value: Json) -> RuntimeInfo | None:
    """None for anything that ``info_to_json`` of this version would not have written."""
    texts = ("key", "prefix", "python", "engine", "version", "style")
    if not isinstance(value, dict) or not all(isinstance(value.get(name), str) for name in texts):
        return None
    program, env = value.get("program"), value.get("env")
    if not isinstance(program, list) or not isinstance(env, dict) or value["style"] not in ("serve", "module"):
        return None
    return RuntimeInfo(**{name: value[name] for name in texts}, program=tuple(program), env=env)
