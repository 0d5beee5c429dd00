"""What pip is configured with must reach uv, in uv's words, and nothing the user told uv may be overruled."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.runtimes.pipconf import combine, config_files, for_uv, local_path, parse, read


def uv(settings: Mapping[str, str], variables: Mapping[str, str] | None = None, there: bool = True) -> dict[str, str]:
    return dict(for_uv(settings, variables or {}, lambda _: there).env)


def test_options_are_spelt_in_any_of_pips_ways() -> None:
    text = "[global]\nFind_Links = /a\n  /b\n[install]\n--no-index: true\n"
    assert parse(text) == {("global", "find-links"): "/a\n/b", ("install", "no-index"): "true"}


def test_a_file_pip_cannot_read_says_nothing() -> None:
    assert parse("no section = here") == {}


def test_the_nearer_source_wins_whole_and_empty_values_do_not_count() -> None:
    far = "[global]\nfind-links = /far\nindex-url = https://far/simple\ncert = /c\n[install]\nindex-url = https://inst/simple"
    near = "[global]\nfind-links = /near\n[download]\nproxy = http://unrelated\n"
    found = combine([far, near], {"PIP_CERT": "/env", "PIP_FIND_LINKS": "", "HOME": "/h"})
    assert found == {"find-links": "/near", "index-url": "https://inst/simple", "cert": "/env"}


def test_every_setting_in_uvs_words() -> None:
    settings = {
        "index-url": "https://u:p@main/simple",
        "extra-index-url": "https://one/simple\nhttps://two/simple",
        "find-links": "/wheels\nhttps://pages/list.html file:///more%20wheels",
        "trusted-host": "a b",
        "constraint": "/c.txt",
        "cert": "/my certs/ca.pem",
        "proxy": "http://proxy:1",
        "timeout": "180",
        "pre": "yes",
    }
    assert uv(settings) == {
        "UV_DEFAULT_INDEX": "https://u:p@main/simple",
        "UV_INDEX": "https://one/simple https://two/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": "/wheels,https://pages/list.html,/more wheels",
        "UV_INSECURE_HOST": "a b",
        "UV_CONSTRAINT": "/c.txt",
        "SSL_CERT_FILE": "/my certs/ca.pem",
        "ALL_PROXY": "http://proxy:1",
        "UV_HTTP_TIMEOUT": "180",
        "UV_PRERELEASE": "allow",
    }


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("index-url", "UV_INDEX_URL"),
        ("extra-index-url", "UV_EXTRA_INDEX_URL"),
        ("find-links", "UV_FIND_LINKS"),
        ("cert", "SSL_CERT_FILE"),
        ("proxy", "https_proxy"),
    ],
)
def test_what_uv_was_told_directly_wins(option: str, told: str) -> None:
    assert uv({option: "/x"}, {told: "/mine"}) == {}


def test_a_strategy_the_user_chose_stays() -> None:
    assert uv({"extra-index-url": "https://one"}, {"UV_INDEX_STRATEGY": "first-index"}) == {"UV_INDEX": "https://one"}


def test_local_places_that_are_not_there_are_left_out_as_pip_does() -> None:
    gone = {"find-links": "/gone file:///gone", "cert": "/gone.pem", "constraint": "/gone.txt"}
    assert uv(gone, there=False) == {}
    assert uv({"find-links": "/gone https://pages/"}, there=False) == {"UV_FIND_LINKS": "https://pages/"}


def test_no_index_is_a_flag_for_uv() -> None:
    assert for_uv({"no-index": "1"}, {}, bool).no_index
    assert not for_uv({"no-index": "false"}, {}, bool).no_index


def test_the_links_to_look_into_are_the_ones_uv_will_use() -> None:
    assert for_uv({"find-links": "/a"}, {}, lambda _: True).find_links == ("/a",)
    assert for_uv({"find-links": "/a"}, {"UV_FIND_LINKS": "/b,/c"}, lambda _: True).find_links == ("/b", "/c")


def test_where_pip_looks() -> None:
    files = [str(file) for file in config_files({"HOME": "/h", "XDG_CONFIG_DIRS": "/x:/y"}, Path("/p"))]
    assert files == [
        "/x/pip/pip.conf",
        "/y/pip/pip.conf",
        "/etc/pip.conf",
        "/h/.pip/pip.conf",
        "/h/.config/pip/pip.conf",
        "/p/pip.conf",
    ]


def test_a_named_file_replaces_the_users_and_the_null_device_all(tmp_path: Path) -> None:
    mine = tmp_path / "mine.conf"
    mine.write_text("[global]\nindex-url = https://mine/simple\n")
    files = config_files({"HOME": "/h", "PIP_CONFIG_FILE": str(mine)}, Path("/p"))
    assert [str(file) for file in files] == ["/etc/xdg/pip/pip.conf", "/etc/pip.conf", "/p/pip.conf", str(mine)]
    assert config_files({"HOME": "/h", "PIP_CONFIG_FILE": os.devnull}, Path("/p")) == ()


def test_the_users_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "pip").mkdir()
    (tmp_path / "wheels").mkdir()
    (tmp_path / "pip/pip.conf").write_text(f"[global]\nfind-links = {tmp_path}/wheels {tmp_path}/gone\n")
    found = read({"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}, prefix=str(tmp_path))
    assert found.find_links == (f"{tmp_path}/wheels",)
    assert found.env["UV_FIND_LINKS"] == f"{tmp_path}/wheels"


def test_local_path() -> None:
    assert local_path("file:///a%20b") == "/a b"
    assert local_path("/a") == "/a"
    assert local_path("https://a/b") is None


@given(st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    combine([text, "[global]\n" + text], {"PIP_FIND_LINKS": text})
