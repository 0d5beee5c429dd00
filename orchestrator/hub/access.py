"""How the Hub is reached on behalf of a deployment, or of whoever types a command: from variables to settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.environ import SYSTEM_PATH, baseline, join_path
from orchestrator.hub.layout import cache_folder
from orchestrator.hub_names import is_true, modern
from orchestrator.model import Spec

HUB = "https://huggingface.co"
_PLACES = frozenset(
    ("HF_HOME", "HF_HUB_CACHE", "HF_XET_CACHE", "HF_ASSETS_CACHE", "HF_TOKEN_PATH", "HF_STORED_TOKENS_PATH")
)
_SECRET = frozenset(("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"))
_TRUST = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@dataclass(frozen=True, slots=True)
class Access:
    """``env`` is the whole environment of the child process, without a token."""

    cache: Path
    endpoint: str
    offline: bool
    env: Mapping[str, str]

    @property
    def stall(self) -> float | None:
        """Seconds, as the Hub's own variable has it."""
        text = self.env.get("HF_HUB_DOWNLOAD_TIMEOUT", "")
        return float(text) if text.isdigit() and text != "0" else None


def access(variables: Mapping[str, str], spec: Spec, runtime: Mapping[str, str]) -> Access:
    """``variables`` is the caller's environment, ``runtime`` what the engine's runtime sets (a conda activation may
    say where the cache is). The place is the engine's; how the network is reached is also the caller's, for what comes
    is the same bytes from wherever."""
    own = modern(spec.env)
    called = modern({name: value for name, value in variables.items() if name.startswith(("HF_", "TRANSFORMERS_"))})
    env = baseline(variables)
    env |= {name: value for name, value in runtime.items() if name in _PLACES}
    env |= {name: value for name, value in called.items() if name not in _PLACES}
    env |= {name: variables[name] for name in _TRUST if name in variables}
    env |= {"HF_HOME": spec.hf_home} if spec.hf_home else {}
    env |= own
    cache, offline = cache_folder(env), is_true(env.get("HF_HUB_OFFLINE", ""))
    for name in _SECRET:
        env.pop(name, None)
    env |= {
        "HF_HUB_CACHE": str(cache),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "HF_HUB_OFFLINE": "0",  # whether to ask at all is decided here; the child is only started to
        "HF_XET_HIGH_PERFORMANCE": env.get("HF_XET_HIGH_PERFORMANCE", "1"),
        "PATH": join_path(SYSTEM_PATH),
        "PYTHONUNBUFFERED": "1",
    }
    return Access(cache, env.get("HF_ENDPOINT", HUB).rstrip("/"), offline, env)


def login_token(variables: Mapping[str, str], hf_home: str | None) -> str | None:
    """The token of whoever logged in with `hf auth login`, where a custom HF_HOME hides it from the Hub's client."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if value := variables.get(name, "").strip():
            return value
    home = variables.get("HOME") or str(Path.home())
    default = f"{variables.get('XDG_CACHE_HOME', f'{home}/.cache')}/huggingface"
    places = [
        variables.get("HF_TOKEN_PATH"),
        *(f"{one}/token" for one in (hf_home, variables.get("HF_HOME"), default) if one),
    ]
    for place in places:
        try:
            value = Path(place).expanduser().read_text(encoding="utf-8").strip() if place else ""
        except (OSError, ValueError):
            continue
        if value:
            return value
    return None
