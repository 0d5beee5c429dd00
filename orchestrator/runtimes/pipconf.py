"""Where pip on this machine would look for packages, told to uv, which does not read pip's configuration.

The result is environment variables and never arguments: an index URL can hold a password, and `ps` shows arguments.
"""

import configparser
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

Settings = Mapping[str, str]  # pip's long option without dashes -> its value as written

# pip's option -> the variables of uv's that say it already, the first of which is the one to set
DIRECT = {
    "index-url": ("UV_DEFAULT_INDEX", "UV_INDEX_URL"),
    "extra-index-url": ("UV_INDEX", "UV_EXTRA_INDEX_URL"),
    "trusted-host": ("UV_INSECURE_HOST",),
    "constraint": ("UV_CONSTRAINT",),
    "cert": ("SSL_CERT_FILE",),
    "client-cert": ("SSL_CLIENT_CERT",),
    "proxy": ("ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy"),
    "timeout": ("UV_HTTP_TIMEOUT",),
}
PATHS = frozenset({"constraint", "cert", "client-cert"})


@dataclass(frozen=True, slots=True)
class UvSettings:
    """``env`` is what to add to uv's environment. ``no_index`` has no variable in uv and becomes `--no-index`.
    ``find_links`` are the folders and pages in ``env``, for whoever wants to look into them."""

    env: Mapping[str, str] = field(default_factory=dict)
    no_index: bool = False
    find_links: tuple[str, ...] = ()


def parse(text: str) -> dict[tuple[str, str], str]:
    """{(section, option): value} of one configuration file; nothing for one that pip itself could not read."""
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(text)
    except configparser.Error:
        return {}
    return {(name, _option(key)): value for name in parser.sections() for key, value in parser.items(name)}


def combine(files: Iterable[str], variables: Mapping[str, str]) -> Settings:
    """The settings of `pip install`: [global], then [install], then PIP_* variables, later ones winning whole; among
    the ``files`` (their texts, weakest first) too. An empty value counts as not written, as it does for pip."""
    read: dict[tuple[str, str], str] = {}
    for text in files:
        read.update(parse(text))
    read.update({("env", _option(k[4:])): v for k, v in variables.items() if k.startswith("PIP_")})
    found: dict[str, str] = {}
    for section in ("global", "install", "env"):
        found.update({key: value for (where, key), value in sorted(read.items()) if where == section and value})
    return found


def config_files(variables: Mapping[str, str], prefix: Path) -> tuple[Path, ...]:
    """Where pip looks, weakest first. PIP_CONFIG_FILE replaces the user's own files, and the null device all."""
    chosen = variables.get("PIP_CONFIG_FILE", "")
    if chosen == os.devnull:
        return ()
    home = Path(variables.get("HOME") or Path.home())
    system = [Path(folder) / "pip" for folder in (variables.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":") if folder]
    user = [home / ".pip", Path(variables.get("XDG_CONFIG_HOME") or home / ".config") / "pip"]
    named = Path(chosen) if chosen else None
    folders = [*system, Path("/etc"), *([] if named and named.exists() else user), prefix]
    return (*(folder / "pip.conf" for folder in folders), *((named,) if named else ()))


def for_uv(settings: Settings, variables: Mapping[str, str], exists: Callable[[str], bool]) -> UvSettings:
    """``settings`` in uv's words, leaving out what the user told uv directly (``variables``). ``exists`` answers for
    a local path: pip skips a find-links folder or a certificate that is not there, uv ends with an error."""
    env: dict[str, str] = {}
    for option, names in DIRECT.items():
        words = (
            settings.get(option, "").split() if option not in ("cert", "client-cert") else [settings.get(option, "")]
        )
        if option in PATHS:
            words = [_absolute(word) for word in words if word and exists(_absolute(word))]
        if any(words) and not any(variables.get(name) for name in names):
            env[names[0]] = " ".join(words)
    links = _links(settings, exists)
    if links and not variables.get("UV_FIND_LINKS"):
        env["UV_FIND_LINKS"] = ",".join(links)
    if env.get("UV_INDEX") and not variables.get("UV_INDEX_STRATEGY"):
        env["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # pip takes the best version of all indexes together
    if _true(settings.get("pre", "")) and not variables.get("UV_PRERELEASE"):
        env["UV_PRERELEASE"] = "allow"
    told = variables.get("UV_FIND_LINKS")
    return UvSettings(env, _true(settings.get("no-index", "")), tuple(told.split(",")) if told else links)


def read(variables: Mapping[str, str], prefix: str = sys.prefix) -> UvSettings:
    """What pip in ``prefix`` would use on this machine, now. Unreadable files are passed over."""
    texts = [text for file in config_files(variables, Path(prefix)) if (text := _text(file)) is not None]
    return for_uv(combine(texts, variables), variables, lambda path: Path(path).exists())


def local_path(place: str) -> str | None:
    """The path that a file: URL or a plain path means; None for anything on the network."""
    if place.startswith("file:"):
        return unquote(urlsplit(place).path)
    return None if "://" in place else _absolute(place)


def _links(settings: Settings, exists: Callable[[str], bool]) -> tuple[str, ...]:
    found = []
    for place in settings.get("find-links", "").split():
        path = local_path(place)
        if path is None:
            found.append(place)
        elif exists(path):
            found.append(path)
    return tuple(found)


def _option(name: str) -> str:
    name = name.lower().replace("_", "-").removeprefix("--")
    return "timeout" if name == "default-timeout" else name


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())


def _true(word: str) -> bool:
    return word.strip().lower() in ("1", "y", "yes", "t", "true", "on")


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
