"""The stand-in Hub serves the real huggingface_hub and the real hf_xet, and fails as it was told to."""

import hashlib
import http.client
import json
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any
from urllib.parse import urlsplit

import pytest
from fakes.hub import Hub
from fakes.hub_faults import Kind, On
from fakes.sandbox import wait_until

SIZE = 2_500_001  # two xorbs and a half
WEIGHTS = b"".join(hashlib.sha256(str(number).encode()).digest() for number in range(SIZE // 32 + 1))[:SIZE]
FILES = {"config.json": b'{"a": 1}', "empty.txt": b"", "sub/model.safetensors": WEIGHTS}
REPO, MODEL = "org/m", "sub/model.safetensors"


@dataclass(frozen=True, slots=True)
class Got:
    status: int
    headers: dict[str, str]
    body: bytes
    reset: bool = False


def fetch(
    url: str, method: str = "GET", headers: Mapping[str, str] | None = None, context: ssl.SSLContext | None = None
) -> Got:
    """What a client sees that trusts nothing: as much of the body as came."""
    parts = urlsplit(url)
    assert parts.hostname
    secure = {"context": context} if parts.scheme == "https" else {}
    kind: Any = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=5, **secure)
    try:
        connection.request(method, url.partition(parts.netloc)[2], headers=headers or {})
        answer = connection.getresponse()
        body, reset = bytearray(), False
        try:
            while piece := answer.read1(1 << 16):
                body += piece
        except ConnectionResetError:
            reset = True
        return Got(answer.status, {name.lower(): value for name, value in answer.getheaders()}, bytes(body), reset)
    finally:
        connection.close()


@pytest.fixture
def weights(hub: Hub) -> str:
    """The signed URL of the weights, which the Hub holds."""
    hub.add(REPO, FILES)
    return signed(hub)


def signed(hub: Hub, path: str = MODEL) -> str:
    return fetch(f"{hub.endpoint}/{REPO}/resolve/main/{path}", "HEAD").headers["location"]


Run = Callable[..., Any]


@pytest.fixture
def run(hub: Hub, tmp_path: Path) -> Run:
    """``run(code, NAME=value)``: what ``code`` says it answers, in a process of its own with no other environment."""

    def run(code: str, **env: str) -> Any:
        settings = {"HOME": str(tmp_path), "HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": hub.endpoint}
        settings |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "PATH": os.environ["PATH"]}
        script = f"import json\n{dedent(code)}\nprint(json.dumps(answer))"
        done = subprocess.run(
            [sys.executable, "-c", script], env=settings | env, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


# ------------------------------------------------------------------------------------------------ the real clients


SNAPSHOT = """
    import huggingface_hub, pathlib, hashlib
    folder = pathlib.Path(huggingface_hub.snapshot_download("org/m"))
    files = [path for path in folder.rglob("*") if path.is_file()]
    sums = {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    answer = [folder.name, sums]
"""
SUMS = {path: hashlib.sha256(data).hexdigest() for path, data in FILES.items()}


def test_huggingface_hub_downloads_by_http(hub: Hub, run: Run) -> None:
    commit = hub.add(REPO, FILES, private=True, token="secret")
    assert run(SNAPSHOT, HF_HUB_DISABLE_XET="1", HF_TOKEN="secret") == [commit, SUMS]
    assert hub.sent(origin="cdn") == hub.sent(MODEL) == SIZE
    assert hub.sent("config.json", "hub") == len(FILES["config.json"])
    authorized = {request.origin for request in hub.requests if "authorization" in request.headers}
    assert authorized == {"hub"}  # a signed URL of another origin is not to see who asks


def test_huggingface_hub_downloads_by_xet(hub: Hub, run: Run) -> None:
    commit = hub.add(REPO, FILES, xet=True)
    assert run(SNAPSHOT) == [commit, SUMS]
    assert hub.sent(origin="cdn") == 0
    assert hub.sent(MODEL, "cas") > SIZE
    assert fetch(signed(hub)).body == WEIGHTS  # plain HTTP goes on


def test_small_files_may_be_behind_a_redirect_of_the_hub_itself(hub: Hub, run: Run) -> None:
    hub.add(REPO, {"config.json": b"{}"}, private=True, token="secret")
    hub.api.resolve_cache = True
    answer = fetch(f"{hub.endpoint}/{REPO}/resolve/main/config.json", headers={"Authorization": "Bearer secret"})
    assert (answer.status, answer.headers["location"][:32]) == (307, "/api/resolve-cache/models/org/m/")
    assert run(SNAPSHOT, HF_TOKEN="secret")[1] == {"config.json": hashlib.sha256(b"{}").hexdigest()}


def test_the_api_says_what_huggingface_hub_asks(hub: Hub, run: Run) -> None:
    first = hub.add(REPO, {"old.txt": b"old"})
    second = hub.add(REPO, FILES, sizes={MODEL: 10**15})
    branch = hub.add(REPO, {"new.txt": b"new"}, revision="feature/x")
    hub.add("org/other", {"a": b"a"})
    hub.add("org/hidden", {"a": b"a"}, private=True)
    hub.tag(REPO, "v1", first)
    told = run(
        """
        from huggingface_hub import HfApi, snapshot_download
        api = HfApi()
        refs = api.list_repo_refs("org/m")
        tree = [item for item in api.list_repo_tree("org/m", recursive=True) if hasattr(item, "size")]
        weights = next(item for item in tree if item.lfs)
        snapshot_download("org/m", revision="v1")
        dry = snapshot_download("org/m", dry_run=True)
        answer = {
            "refs": {ref.name: ref.target_commit for ref in refs.branches + refs.tags},
            "tree": [item.path for item in tree],
            "lfs": [weights.lfs.sha256, weights.lfs.size, max(item.file_size for item in dry)],
            "siblings": {item.rfilename: item.size for item in api.model_info("org/m", files_metadata=True).siblings},
            "shas": [api.model_info("org/m").sha, api.model_info("org/m", revision="feature/x").sha],
            "found": [[item.id for item in api.list_models(**asked)]
                      for asked in ({"search": "OTHER"}, {"author": "org"}, {"author": "nobody"})],
            "verified": api.verify_repo_checksums("org/m", revision="v1").checked_count,
        }
        """
    )
    assert told["refs"] == {"main": second, "feature/x": branch, "v1": first}
    assert told["tree"] == sorted(FILES)
    assert told["lfs"] == [SUMS[MODEL], 10**15, 10**15]
    assert told["siblings"] == {"config.json": 8, "empty.txt": 0, MODEL: 10**15}
    assert told["shas"] == [second, branch]
    assert told["found"] == [["org/other"], ["org/m", "org/other"], []]
    assert told["verified"] == 1


def test_a_commit_is_named_by_what_it_holds_and_follows(hub: Hub) -> None:
    with Hub() as other:
        firsts = [one.add(REPO, {"a": b"a"}) for one in (hub, other)]
        seconds = [one.add(REPO, {"a": b"a"}) for one in (hub, other)]
    assert len({*firsts}) == len({*seconds}) == 1
    assert firsts != seconds
    assert len(firsts[0]) == 40


def test_errors_come_out_as_those_of_huggingface_hub(hub: Hub, run: Run) -> None:
    hub.add(REPO, FILES)
    hub.add("org/gated", FILES, gated=True, token="granted")
    hub.add("org/private", FILES, private=True, token="granted")
    hub.revoke("revoked")
    told = run(
        """
        from huggingface_hub import HfApi, hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError
        def error(ask, *args, **named):
            try:
                ask(*args, **named)
            except HfHubHTTPError as error:
                return [type(error).__name__, error.response.status_code]
            return "fine"
        def download(repo, token=False, file="config.json", revision="main"):
            return error(hf_hub_download, repo, file, token=token, revision=revision)
        answer = [
            download("org/gated"), download("org/gated", "known"), download("org/gated", "granted"),
            error(HfApi().model_info, "org/gated", token=False), error(HfApi().auth_check, "org/gated", token="known"),
            download("org/private"), download("org/private", "known"), download("org/private", "granted"),
            download("org/unknown"), download("org/unknown", "known"), download("org/m", "revoked"),
            download("org/m", revision="nope"), download("org/m", file="nope"),
        ]
        """
    )
    assert told == [
        ["GatedRepoError", 401], ["GatedRepoError", 403], "fine",
        "fine", ["GatedRepoError", 403],
        ["RepositoryNotFoundError", 401], ["RepositoryNotFoundError", 404], "fine",
        ["RepositoryNotFoundError", 401], ["RepositoryNotFoundError", 404], ["HfHubHTTPError", 401],
        ["RevisionNotFoundError", 404], ["RemoteEntryNotFoundError", 404],
    ]  # fmt: skip


XET = """
    import hf_xet, json, os, time
    token = json.loads(os.environ["XET_TOKEN"])
    group = hf_xet.XetSession().new_download_stream_group(
        endpoint=token["casUrl"], token=token["accessToken"], token_expiry_unix_secs=token["exp"],
        token_refresh_url=os.environ["REFRESH"],
    )
    span = json.loads(os.environ["SPAN"])
    data = bytearray(span[1] - span[0])
    answer = 0
    for offset, piece in group.download_unordered_stream(hf_xet.XetFileInfo(os.environ["NAME"], None), *span):
        data[offset:offset + len(piece)] = piece
        answer += len(piece)
    open(os.environ["HOME"] + "/out", "wb").write(data)
"""


@pytest.mark.parametrize("span", [(0, SIZE), (70_000, 1_200_001), (SIZE - 1, SIZE)])
def test_hf_xet_reads_any_range_and_renews_its_token(hub: Hub, run: Run, tmp_path: Path, span: tuple[int, int]) -> None:
    hub.add(REPO, FILES, xet=True)
    refresh = f"{hub.endpoint}/api/models/{REPO}/xet-read-token/main"
    hub.api.token_life = -10
    old = fetch(refresh).body.decode()
    hub.api.token_life = 3600
    name = fetch(f"{hub.endpoint}/{REPO}/resolve/main/{MODEL}", "HEAD").headers["x-xet-hash"]
    assert run(XET, XET_TOKEN=old, REFRESH=refresh, NAME=name, SPAN=json.dumps(span)) == span[1] - span[0]
    assert (tmp_path / "out").read_bytes() == WEIGHTS[slice(*span)]
    assert sum("xet-read-token" in request.path for request in hub.requests) == 2


# -------------------------------------------------------------------------------------------------------- its ranges


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("bytes=0-9", 0, 10), ("bytes=100-", 100, SIZE), ("bytes=-5", SIZE - 5, SIZE), ("bytes=9-99999999", 9, SIZE)],
)
def test_a_download_can_go_on_where_it_was(hub: Hub, weights: str, asked: str, start: int, end: int) -> None:
    got = fetch(weights, headers={"Range": asked})
    assert (got.status, got.body) == (206, WEIGHTS[start:end])
    assert got.headers["content-range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert hub.requests[-1].sent == hub.sent(MODEL) == end - start


def test_beyond_the_end_is_416_and_a_changed_file_is_sent_whole(weights: str) -> None:
    got = fetch(weights, headers={"Range": f"bytes={SIZE}-"})
    assert (got.status, got.headers["content-range"], got.body) == (416, f"bytes */{SIZE}", b"")
    assert fetch(weights, headers={"Range": "bytes=5-", "If-Range": '"other"'}).status == 200
    assert fetch(weights, headers={"Range": "bytes=5-", "If-Range": f'"{SUMS[MODEL]}"'}).status == 206


def test_a_file_on_disk_is_served_too(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(WEIGHTS)
    (tmp_path / "empty").touch()
    hub.add(REPO, {"a.gguf": tmp_path / "weights", "empty": tmp_path / "empty"})
    assert fetch(signed(hub, "a.gguf"), headers={"Range": "bytes=7-"}).body == WEIGHTS[7:]
    assert fetch(f"{hub.endpoint}/{REPO}/resolve/main/empty").body == b""


def test_a_signed_url_ends_when_the_test_says_so(hub: Hub, weights: str) -> None:
    hub.expire()
    assert fetch(weights).status == 403
    assert fetch(weights.partition("?")[0]).status == 403
    assert fetch(signed(hub)).status == 200


# -------------------------------------------------------------------------------------------------------- its faults


@pytest.mark.parametrize("kind", ["reset", "close"])
@pytest.mark.parametrize("after", [0, 1000, SIZE - 1])
def test_a_body_ends_after_exactly_so_many_bytes(hub: Hub, weights: str, kind: Kind, after: int) -> None:
    fault = hub.fault(kind, MODEL, after=after)
    got = fetch(weights)
    assert (got.status, got.headers["content-length"], got.reset) == (200, str(SIZE), kind == "reset")
    assert got.body == WEIGHTS[:after]
    assert hub.sent(MODEL) == after
    assert fault.reached.is_set()
    assert fetch(weights, headers={"Range": f"bytes={after}-"}).body == WEIGHTS[after:]  # once only


def test_a_gate_holds_a_body_until_it_is_released(hub: Hub, weights: str) -> None:
    gate = hub.gate(MODEL, after=1_200_000)
    with ThreadPoolExecutor() as pool:
        got = pool.submit(fetch, weights)
        assert gate.reached.wait(5)
        assert hub.sent(MODEL) == 1_200_000
        assert not got.done()
        gate.release()
        assert got.result().body == WEIGHTS


def test_a_held_body_ends_when_its_client_goes_away(hub: Hub, weights: str) -> None:
    gate = hub.gate(MODEL, after=10)
    connection = http.client.HTTPConnection(urlsplit(hub.cdn).netloc)
    connection.request("GET", weights.removeprefix(hub.cdn))
    assert connection.getresponse().read(10) == WEIGHTS[:10]
    assert gate.reached.wait(5)
    connection.close()
    cdn = next(origin for origin in hub.origins if origin.name == "cdn")
    wait_until(lambda: not cdn.living)
    assert hub.sent(MODEL) == 10


@pytest.mark.parametrize("status", [401, 403, 404, 416, 429, 500, 502, 503])
def test_a_status_comes_in_the_answers_place(hub: Hub, weights: str, status: int) -> None:
    hub.fault("status", MODEL, times=2, status=status, headers={"Retry-After": "0"})
    answers = [fetch(weights) for _ in range(3)]
    assert [answer.status for answer in answers] == [status, status, 200]
    assert answers[0].headers["retry-after"] == "0"
    assert WEIGHTS not in answers[0].body
    assert hub.sent(MODEL) == SIZE


def test_a_status_can_be_for_one_sort_of_request(hub: Hub, weights: str) -> None:
    api, resolve = f"{hub.endpoint}/api/models/{REPO}", f"{hub.endpoint}/{REPO}/resolve/main/{MODEL}"
    asked = [(api, "GET"), (resolve, "HEAD"), (resolve, "GET"), (weights, "GET")]
    sorts: tuple[On, ...] = ("api", "head", "resolve", "body")
    for on in sorts:
        hub.fault("status", times=None, on=on)
        assert [fetch(*what).status for what in asked] == [
            503 if sort == on else normal for sort, normal in zip(sorts, (200, 302, 302, 200), strict=True)
        ]
        hub.faults.clear()
    hub.fault("status", times=None, on="any")
    assert {fetch(*what).status for what in asked} == {503}


def test_one_byte_is_corrupt_where_a_range_has_it(hub: Hub, weights: str) -> None:
    fault = hub.fault("corrupt", MODEL, offset=1000)
    assert fetch(weights, headers={"Range": "bytes=0-999"}).body == WEIGHTS[:1000]
    assert not fault.hits
    got = fetch(weights).body
    assert (len(got), got[:1000], got[1001:]) == (SIZE, WEIGHTS[:1000], WEIGHTS[1001:])
    assert got[1000] != WEIGHTS[1000]
    assert fetch(weights).body == WEIGHTS


def test_fewer_bytes_than_asked_for_may_be_announced(hub: Hub, weights: str) -> None:
    hub.fault("truncate", MODEL, times=2, after=100)
    got = fetch(weights)
    assert (got.status, got.headers["content-length"], got.body) == (200, "100", WEIGHTS[:100])
    got = fetch(weights, headers={"Range": "bytes=50-999"})
    assert (got.status, got.headers["content-range"], got.body) == (206, f"bytes 50-149/{SIZE}", WEIGHTS[50:150])


def test_a_range_can_be_another_one_or_none(hub: Hub, weights: str) -> None:
    hub.fault("wrong_range", MODEL)
    got = fetch(weights, headers={"Range": "bytes=50-149"})
    assert (got.status, got.headers["content-range"], got.body) == (206, f"bytes 0-99/{SIZE}", WEIGHTS[:100])
    hub.fault("no_range", MODEL)
    for _ in range(2):
        got = fetch(weights, headers={"Range": "bytes=50-149"})
        assert (got.status, got.body) == (200, WEIGHTS)
        assert not {"accept-ranges", "content-range"} & {*got.headers}


def test_a_rate_slows_a_body_and_can_be_lifted_while_it_runs(hub: Hub, weights: str) -> None:
    hub.rate = 1e6
    start = time.monotonic()
    assert len(fetch(weights, headers={"Range": "bytes=0-49999"}).body) == 50_000
    assert time.monotonic() - start > 0.02
    hub.rate = 1000
    gate = hub.gate(MODEL, after=20)
    with ThreadPoolExecutor() as pool:
        got = pool.submit(fetch, weights)
        assert gate.reached.wait(5)
        hub.rate = None
        gate.release()
        assert got.result().body == WEIGHTS


def test_a_hub_that_is_down_refuses_and_comes_back_where_it_was(hub: Hub, weights: str) -> None:
    hub.stop()
    for url in (hub.endpoint, weights):
        with pytest.raises(ConnectionRefusedError):
            fetch(url)
    hub.start()
    assert fetch(weights).body == WEIGHTS


def test_going_down_drops_what_is_being_sent(hub: Hub, weights: str) -> None:
    gate = hub.gate(MODEL, after=500)
    with ThreadPoolExecutor() as pool:
        got = pool.submit(fetch, weights)
        assert gate.reached.wait(5)
        hub.stop()
        assert got.result().body == WEIGHTS[:500]


def test_one_connection_serves_many_requests(hub: Hub) -> None:
    hub.add(REPO, FILES)
    connection = http.client.HTTPConnection(urlsplit(hub.endpoint).netloc)
    for _ in range(3):
        connection.request("GET", f"/{REPO}/resolve/main/config.json")
        assert connection.getresponse().read() == FILES["config.json"]
    assert len(hub.origins[0].living) == 1
    connection.close()


def test_its_certificate_is_trusted_only_by_who_was_told(tls_hub: Hub) -> None:
    tls_hub.add(REPO, FILES)
    with pytest.raises(ssl.SSLCertVerificationError):
        fetch(tls_hub.endpoint)
    trusting = ssl.create_default_context(cafile=tls_hub.certificate)
    location = fetch(f"{tls_hub.endpoint}/{REPO}/resolve/main/{MODEL}", context=trusting).headers["location"]
    tls_hub.fault("reset", MODEL, after=1000)
    assert fetch(location, context=trusting).body == WEIGHTS[:1000]  # Python's ssl takes a reset for the end
    assert fetch(location, context=trusting).body == WEIGHTS
