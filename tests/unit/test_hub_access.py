"""How the Hub is reached for a deployment, and what is the caller's and what the engine's."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from builders import wanted

from orchestrator.hub.access import HUB, access, login_token
from orchestrator.hub.layout import cache_folder
from orchestrator.model import Spec

HOME = {"HOME": "/home/u", "USER": "me"}


def spec(hf_home: str | None = None, **env: str) -> Spec:
    return replace(wanted().spec, hf_home=hf_home, env=env)


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, "/home/u/.cache/huggingface/hub"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/huggingface/hub"),
        ({"XDG_CACHE_HOME": "/x", "HF_HOME": "/hf"}, "/hf/hub"),
        ({"HF_HOME": "/hf", "HUGGINGFACE_HUB_CACHE": "/old"}, "/old"),
        ({"HF_HOME": "/hf", "HUGGINGFACE_HUB_CACHE": "/old", "HF_HUB_CACHE": "/new"}, "/new"),
        ({"HF_HOME": "~/hf"}, "/home/u/hf/hub"),
        ({"HF_HUB_CACHE": "$HOME/c/${USER}"}, "/home/u/c/me"),
    ],
)
def test_the_cache_is_where_the_engine_has_it(env: Mapping[str, str], expected: str) -> None:
    assert cache_folder(HOME | dict(env)) == Path(expected)


@pytest.mark.parametrize(
    ("called", "runtime", "deployment", "expected"),
    [
        ({"HF_HOME": "/mine", "HF_HUB_CACHE": "/mine"}, {}, spec(), "/home/u/.cache/huggingface/hub"),
        ({"HF_HOME": "/mine"}, {}, spec("/data/hf"), "/data/hf/hub"),
        ({}, {"HF_HOME": "/conda"}, spec(), "/conda/hub"),
        ({}, {"HF_HOME": "/conda"}, spec("/data/hf"), "/data/hf/hub"),
        ({}, {}, spec("/data/hf", HF_HUB_CACHE="/c"), "/c"),
        ({}, {}, spec(HUGGINGFACE_HUB_CACHE="/old"), "/old"),
    ],
)
def test_the_place_is_the_engines_and_never_the_callers(
    called: dict[str, str], runtime: dict[str, str], deployment: Spec, expected: str
) -> None:
    reach = access(HOME | called, deployment, runtime)
    assert str(reach.cache) == reach.env["HF_HUB_CACHE"] == expected


@pytest.mark.parametrize(
    ("called", "deployment", "endpoint", "offline"),
    [
        ({}, spec(), HUB, False),
        ({"HF_ENDPOINT": "https://mirror/"}, spec(), "https://mirror", False),
        ({"HF_ENDPOINT": "https://mine"}, spec(HF_ENDPOINT="https://file"), "https://file", False),
        ({"HF_HUB_OFFLINE": "1"}, spec(), HUB, True),
        ({"TRANSFORMERS_OFFLINE": "yes"}, spec(), HUB, True),
        ({"HF_HUB_OFFLINE": "1"}, spec(HF_HUB_OFFLINE="0"), HUB, False),
        ({}, spec(TRANSFORMERS_OFFLINE="1"), HUB, True),
    ],
)
def test_how_the_network_is_reached_is_also_the_callers(
    called: dict[str, str], deployment: Spec, endpoint: str, offline: bool
) -> None:
    reach = access(HOME | called, deployment, {})
    assert (reach.endpoint, reach.offline) == (endpoint, offline)


def test_the_child_inherits_no_token_and_nothing_unrelated() -> None:
    called = HOME | {"HF_TOKEN": "t", "HUGGING_FACE_HUB_TOKEN": "t", "LD_PRELOAD": "x", "PYTHONPATH": "y"}
    reach = access(called | {"SSL_CERT_FILE": "/ca", "https_proxy": "http://p"}, spec(HF_TOKEN="t"), {"HF_TOKEN": "t"})
    assert "t" not in reach.env.values()
    assert not {"LD_PRELOAD", "PYTHONPATH"} & reach.env.keys()
    assert (reach.env["SSL_CERT_FILE"], reach.env["https_proxy"]) == ("/ca", "http://p")


def test_a_login_is_found_behind_a_custom_home(tmp_path: Path) -> None:
    stored = tmp_path / ".cache/huggingface/token"
    stored.parent.mkdir(parents=True)
    stored.write_text("from-login\n")
    home = {"HOME": str(tmp_path)}
    assert login_token(home, "/data/hf") == "from-login"
    assert login_token(home | {"HF_TOKEN": "from-shell"}, "/data/hf") == "from-shell"
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf/token").write_text("of-the-environment")
    assert login_token(home, str(tmp_path / "hf")) == "of-the-environment"
    assert login_token({"HOME": str(tmp_path / "nobody")}, None) is None
