import json
import subprocess
import sys
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.hub_names import OLD, modern, old_name

TODAY = sorted({old.today for old in OLD.values()})
FOLLOWED = sorted(name for name, old in OLD.items() if old.followed)
UNRELATED = ["PATH", "HF_HOME", "HF_DATASETS_OFFLINE", "hf_token"]
values = st.sampled_from(["", "0", "1", "true", "/c", "x"]) | st.text(max_size=3)
environments = st.dictionaries(st.sampled_from([*OLD, *TODAY, *UNRELATED]), values)


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, {}),
        ({"A": "b"}, {"A": "b"}),
        ({"HF_HUB_ENABLE_HF_TRANSFER": "true"}, {"HF_XET_HIGH_PERFORMANCE": "1"}),
        ({"HF_HUB_ENABLE_HF_TRANSFER": "0"}, {}),
        ({"HF_HUB_ENABLE_HF_TRANSFER": "1", "HF_XET_HIGH_PERFORMANCE": "0"}, {"HF_XET_HIGH_PERFORMANCE": "0"}),
        ({"HUGGINGFACE_HUB_VERBOSITY": "debug"}, {"HF_HUB_VERBOSITY": "debug"}),
        ({"HUGGINGFACE_HUB_CACHE": "/a"}, {"HF_HUB_CACHE": "/a"}),
        ({"HUGGINGFACE_ASSETS_CACHE": "/a"}, {"HF_ASSETS_CACHE": "/a"}),
        ({"HUGGINGFACE_HUB_CACHE": "/a", "HF_HUB_CACHE": "/b"}, {"HF_HUB_CACHE": "/b"}),
        ({"HUGGING_FACE_HUB_TOKEN": "t", "HF_TOKEN": ""}, {"HF_TOKEN": ""}),
        ({"HUGGING_FACE_HUB_TOKEN": "t"}, {"HF_TOKEN": "t"}),
        ({"TRANSFORMERS_OFFLINE": "1"}, {"HF_HUB_OFFLINE": "1"}),
        ({"HUGGINGFACE_CO_RESOLVE_ENDPOINT": "https://m"}, {"HF_ENDPOINT": "https://m"}),
        # An engine does not look for weights there, so orch must not download to there.
        ({"TRANSFORMERS_CACHE": "/a"}, {"TRANSFORMERS_CACHE": "/a"}),
    ],
)  # fmt: skip
def test_old_names_become_those_of_today(env: dict[str, str], expected: dict[str, str]) -> None:
    assert modern(env) == expected


@given(environments)
def test_translating_again_changes_nothing(env: dict[str, str]) -> None:
    assert modern(modern(env)) == modern(env)


@given(environments)
def test_a_name_of_today_that_is_given_is_never_overridden(env: dict[str, str]) -> None:
    assert {name: modern(env)[name] for name in TODAY if name in env} == {n: env[n] for n in TODAY if n in env}


@given(environments)
def test_unrelated_names_are_untouched_and_followed_ones_are_gone(env: dict[str, str]) -> None:
    before, found = dict(env), modern(env)
    assert env == before
    assert {n: v for n, v in found.items() if n not in TODAY} == {
        n: v for n, v in env.items() if n not in TODAY and n not in FOLLOWED
    }


@pytest.mark.parametrize("value", ["1", "on", "Yes", "TRUE", None])
def test_a_switch_that_is_on_or_unknown_is_worth_a_word(value: str | None) -> None:
    assert old_name("HF_HUB_ENABLE_HF_TRANSFER", value)


@pytest.mark.parametrize("value", ["", "0", "off", "no", "false", "y"])
def test_a_switch_that_is_off_is_not(value: str) -> None:
    assert old_name("HF_HUB_ENABLE_HF_TRANSFER", value) is None


# --------------------------------------------------------------------------------------- the installed huggingface_hub

READ = """
import json, warnings
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    from huggingface_hub import constants, get_token
    from huggingface_hub.utils.logging import get_verbosity
print(json.dumps({
    "HF_ASSETS_CACHE": constants.HF_ASSETS_CACHE, "HF_HUB_CACHE": constants.HF_HUB_CACHE,
    "HF_HUB_OFFLINE": constants.HF_HUB_OFFLINE, "HF_XET_HIGH_PERFORMANCE": constants.HF_XET_HIGH_PERFORMANCE,
    "HF_ENDPOINT": constants.ENDPOINT, "HF_TOKEN": get_token(), "HF_HUB_VERBOSITY": get_verbosity(),
    "warnings": [str(one.message)[:40] for one in said],
}))
"""
EVERY_OLD_NAME = dict.fromkeys(OLD, "/old") | {
    "HF_HUB_ENABLE_HF_TRANSFER": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HUGGINGFACE_HUB_VERBOSITY": "critical",
}


def understood(env: Mapping[str, str]) -> dict[str, object]:
    """What the hub's client makes of an environment."""
    env = {"HOME": "/nowhere", "HF_HUB_DISABLE_TELEMETRY": "1"} | dict(env)
    done = subprocess.run([sys.executable, "-c", READ], env=env, capture_output=True, text=True, check=True)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_the_table_is_that_of_the_installed_client() -> None:
    nothing, old, new = understood({}), understood(EVERY_OLD_NAME), understood(modern(EVERY_OLD_NAME))
    unread = {old_name.today for old_name in OLD.values() if old_name.what and old_name.followed}
    assert nothing.keys() - {"warnings"} == set(TODAY)
    assert {name for name in TODAY if new[name] == nothing[name]} == set()  # all of today's are read
    assert {name for name in TODAY if old[name] == nothing[name]} == unread  # and these only by today's name
    assert {name for name in TODAY if old[name] != new[name]} == unread
    assert (len(old["warnings"]), new["warnings"]) == (1, [])  # type: ignore[arg-type]
