"""The systemd user units of orch: their names, and the text of the one that runs a project's watcher. Pure: it is
given all that it says."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from orchestrator.environ import BASELINE
from orchestrator.model import Marker

LONGEST_PROJECT = 80  # characters of a project's id, from its end: systemd takes 255 for a name
CARRIED = (
    *(name for name in BASELINE if name not in ("HOME", "USER", "LOGNAME")),  # which systemd sets by itself
    "PATH", "ORCH_CACHE_DIR", "ORCH_DATA_DIR", "ORCH_STATE_DIR",
    "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME",
    "HF_ENDPOINT", "HF_HOME", "HF_HUB_CACHE", "HF_TOKEN_PATH",
    "CONDA_ENVS_PATH", "CONDA_EXE", "CONDA_PREFIX", "CUDA_HOME", "CUDA_PATH", "MAMBA_EXE", "MAMBA_ROOT_PREFIX",
    "PIP_CONFIG_FILE", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR", "SSL_CERT_FILE", "UV_CACHE_DIR",
)  # fmt: skip
"""Variables that the watcher needs as the shell has them, or it would start, fetch and build otherwise than `apply`."""

_USER = re.compile(r"://[^/?#\s]*@")


@dataclass(frozen=True, slots=True)
class Unit:
    """``root`` is the project's folder, ``python`` the one that orch runs in, ``secrets`` the file in which the user
    may keep what no unit may hold."""

    project: str
    root: str
    python: str
    secrets: str
    variables: Mapping[str, str]


def unit_name(project: str) -> str:
    return f"orch-watch-{project[-LONGEST_PROJECT:]}.service"


def instance_unit(marker: Marker) -> str:
    """The name of the unit that a start of this marker has. All of it may stand there as it is: project, name and
    attempt are letters, digits, ".", "_" and "-". Its second word tells it from a watcher's, whatever those are."""
    return f"orch-engine-{marker.project[-LONGEST_PROJECT:]}-{marker.name}-{marker.attempt}.service"


def carried(variables: Mapping[str, str], named: Collection[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """The variables for the unit, by name: those of above and those ``named`` by the project's files. And the names of
    those that are left out, for their values hold a password, as that of a proxy may."""
    wanted = sorted({*CARRIED, *named} & set(variables))
    withheld = tuple(name for name in wanted if _holds_password(name, variables[name]))
    return {name: variables[name] for name in wanted if name not in withheld}, withheld


def unit_text(unit: Unit) -> str:
    return f"""\
# Written by `orch service install`, which writes it anew; a drop-in of yours (`systemctl --user edit`) stays.
[Unit]
Description=orch keeps {_plain(unit.project)} up
# It is never given up: what cannot start is the watcher's to judge, and whoever judges must be there.
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={_quoted(unit.python)} {_words(["-m", "orchestrator", "watch", "--root", unit.root])}
# To look at the files at once.
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=1
SuccessExitStatus=130
# The engines go on when the watcher is ended, restarted, or replaced by a newer one.
KillMode=process
TimeoutStopSec=3min
# An engine that the kernel kills for want of memory takes neither the watcher nor the others along.
OOMPolicy=continue
TasksMax=infinity
SyslogIdentifier=orch
Environment=PYTHONSAFEPATH=1
{_settings(unit.variables)}
# Secrets, one NAME=VALUE a line, in a file that only you can read (chmod 600).
EnvironmentFile=-{_plain(unit.secrets)}

[Install]
WantedBy=default.target
"""


def _settings(variables: Mapping[str, str]) -> str:
    return "\n".join(f"Environment={_quoted(f'{name}={value}')}" for name, value in sorted(variables.items()))


def _words(words: Iterable[str]) -> str:
    """A command line in which no variable is expanded."""
    return " ".join(_quoted(word).replace("$", "$$") for word in words)


def _quoted(word: str) -> str:
    plain = word.isascii() and word.replace("-", "").replace("/", "").replace(".", "").replace("_", "").isalnum()
    if plain:
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{_plain(escaped)}"'


def _plain(text: str) -> str:
    """Text in which systemd sees none of its own %-letters."""
    return text.replace("%", "%%")


def _holds_password(name: str, value: str) -> bool:
    """As in scheme://user:password@host; a proxy is taken without a scheme, too."""
    if name.lower().endswith("_proxy"):
        value = value if "://" in value else f"://{value}"
    return bool(_USER.search(value))
