"""What the stand-in Hub answers: its API and its files, and the storage behind it (``cdn``).

Paths, headers and error codes are those that huggingface_hub 2.4.0 reads; the messages are the real Hub's.
"""

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from fakes import hub_xet
from fakes.hub_faults import Fault, On
from fakes.hub_store import Commit, File, Hollow, Plain, Repo
from fakes.hub_wire import Answer, Name, Request


class Refusal(Exception):
    def __init__(self, status: int, code: str, message: str, **headers: str) -> None:
        super().__init__(message)
        named = {"X-Error-Code": code} if code else {}
        self.answer = as_json({"error": message}, status, {**named, "X-Error-Message": message, **headers})


@dataclass(slots=True)
class Api:
    repos: dict[str, Repo] = field(default_factory=dict)
    revoked: set[str] = field(default_factory=set)
    endpoint: str = ""
    cdn: str = ""
    cas: str = ""
    token_life: float = 3600.0
    resolve_cache: bool = False
    signed: int = 0  # URLs of the cdn handed out
    expired: int = 0  # of them, those that are good no more

    def answer(self, request: Request) -> Answer:
        path = urlsplit(request.path).path
        for pattern, on, route in ROUTES[request.origin]:
            if match := re.fullmatch(pattern, path):
                try:
                    return route(self, request, *map(unquote, match.groups()))
                except Refusal as refusal:
                    return replace(refusal.answer, on=on)
        return Refusal(404, "", "Sorry, we can't find the page you are looking for.").answer

    # ------------------------------------------------------------------------------------------- who may see what

    def repo(self, request: Request, name: str, *, files: bool = True) -> Repo:
        """A gated repository's description and list of files are public, its files are not."""
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token in self.revoked:
            raise Refusal(401, "", "Invalid credentials in Authorization header")
        repo = self.repos.get(name)
        if repo is None or (repo.private and token != repo.token):
            if token:
                raise Refusal(404, "RepoNotFound", "Repository not found")
            raise Refusal(401, "RepoNotFound", "Invalid username or password.")
        if files and repo.gated and token != repo.token:
            closed = f"Access to model {name} is restricted"
            if token:
                ask = f"Visit {self.endpoint}/{name} to ask for access."
                raise Refusal(403, "GatedRepo", f"{closed} and you are not in the authorized list. {ask}")
            must = "You must have access to it and be authenticated to access it. Please log in."
            raise Refusal(401, "GatedRepo", f"{closed}. {must}")
        return repo

    # ------------------------------------------------------------------------------------------------ its routes

    def models(self, request: Request) -> Answer:
        query = parse_qs(urlsplit(request.path).query)
        asked = {name: values[0] for name, values in query.items()}
        found = [repo for _, repo in sorted(self.repos.items()) if not repo.private]
        found = [repo for repo in found if asked.get("search", "").lower() in repo.name.lower()]
        found = [repo for repo in found if asked.get("author") in (None, repo.name.partition("/")[0])]
        found = [repo for repo in found if set(query.get("filter", ())) <= set(repo.labels)]
        if asked.get("sort") == "downloads":
            found.sort(key=lambda repo: -repo.downloads)
        return as_json([listed(repo) for repo in found[: int(asked.get("limit", 1000))]])

    def info(self, request: Request, name: str, revision: str | None = None) -> Answer:
        repo = self.repo(request, name, files=False)
        commit = commit_of(repo, revision or "main")
        sized = "blobs" in parse_qs(urlsplit(request.path).query)
        siblings = [file.sibling if sized else {"rfilename": file.path} for file in commit.files.values()]
        gated = "manual" if repo.gated else False
        facts = {**listed(repo), "sha": commit.sha, "gated": gated}
        return as_json({**facts, "author": name.partition("/")[0], "siblings": siblings})

    def tree(self, request: Request, name: str, revision: str) -> Answer:
        return as_json(commit_of(self.repo(request, name, files=False), revision).entries)

    def refs(self, request: Request, name: str) -> Answer:
        repo = self.repo(request, name, files=False)

        def named(kind: str, refs: Mapping[str, str]) -> list[dict[str, str]]:
            return [{"name": ref, "ref": f"refs/{kind}/{ref}", "targetCommit": sha} for ref, sha in refs.items()]

        return as_json({"branches": named("heads", repo.branches), "tags": named("tags", repo.tags), "converts": []})

    def auth_check(self, request: Request, name: str) -> Answer:
        self.repo(request, name)
        return as_json({})

    def resolve(self, request: Request, name: str, revision: str, path: str) -> Answer:
        commit, file = self.file(request, name, revision, path)
        if file.sha256:
            return self.redirect(name, commit, file)
        if self.resolve_cache and "/resolve-cache/" not in request.path:
            location = f"/api/resolve-cache/models/{name}/{commit.sha}/{quote(path)}?etag=%22{file.etag}%22"
            return text(307, f"Temporary Redirect. Redirecting to {location}", {"Location": location})
        headers = {"X-Repo-Commit": commit.sha, "ETag": f'"{file.etag}"', "Content-Type": "application/octet-stream"}
        return Answer(200, Plain(file.data), headers, on="body")

    def file(self, request: Request, name: str, revision: str, path: str) -> tuple[Commit, File]:
        commit = commit_of(self.repo(request, name), revision)
        if path not in commit.files:
            raise Refusal(404, "EntryNotFound", "Entry not found", **{"X-Repo-Commit": commit.sha})
        return commit, commit.files[path]

    def redirect(self, name: str, commit: Commit, file: File) -> Answer:
        """Each answer signs a URL of its own."""
        self.signed += 1
        signature = f"Expires={int(time.time()) + 3600}&Signature={self.signed}&Key-Pair-Id=K0"
        location = f"{self.cdn}/lfs/{file.sha256}/{quote(file.path)}?{signature}"
        headers = {"Location": location, "X-Repo-Commit": commit.sha, "Accept-Ranges": "bytes"}
        headers |= {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(file.size)}
        if file.xet:
            token = f"<{self.endpoint}/api/models/{name}/xet-read-token/{commit.sha}>"
            what = f"<{self.cas}/v1/reconstructions/{file.xet}>"
            headers["X-Xet-Hash"] = file.xet
            headers["Link"] = f'{token}; rel="xet-auth", {what}; rel="xet-reconstruction-info"'
        return text(302, f"Found. Redirecting to {location}", headers)

    def lfs(self, request: Request, sha256: str, path: str) -> Answer:
        signature = parse_qs(urlsplit(request.path).query).get("Signature", ["0"])[0]
        if int(signature) <= self.expired:
            raise Refusal(403, "", "Access Denied")
        file = self.stored(lambda file: file.sha256 == sha256)
        content = Plain(file.data) if file.size <= len(file.data) else Hollow(file.data, file.size)
        return Answer(200, content, {"ETag": f'"{sha256}"'}, on="body")

    # ------------------------------------------------------------------------------------------------------- Xet

    def xet_token(self, request: Request, name: str, revision: str) -> Answer:
        """In the headers for huggingface_hub, in the body for hf_xet, which asks again when a token is about to end."""
        commit_of(self.repo(request, name), revision)
        expiry = int(time.time() + self.token_life)
        token = f"{hub_xet.TOKEN}{expiry}"
        headers = {"X-Xet-Cas-Url": self.cas, "X-Xet-Access-Token": token, "X-Xet-Token-Expiration": str(expiry)}
        return as_json({"casUrl": self.cas, "accessToken": token, "exp": expiry}, headers=headers)

    def reconstruction(self, request: Request, xet: str) -> Answer:
        expiry = request.headers.get("authorization", "").partition(hub_xet.TOKEN)[2]
        if int(expiry or 0) < time.time():
            raise Refusal(401, "", "Unauthorized")
        file = self.stored(lambda file: file.xet == xet)
        start, end = hub_xet.asked(request.headers.get("range", ""), len(file.data))
        if start >= len(file.data):
            raise Refusal(416, "", "Range Not Satisfiable")
        return as_json(hub_xet.reconstruction(self.cas, file, start, end), on="cas")

    def xorb(self, request: Request, xet: str, index: str, path: str) -> Answer:
        file = self.stored(lambda file: file.xet == xet)
        return Answer(200, hub_xet.Xorb(hub_xet.piece(file.data, int(index))), on="body")

    def telemetry(self, request: Request) -> Answer:
        return as_json({}, on="cas")

    def stored(self, wanted: Callable[[File], bool]) -> File:
        commits = [commit for repo in self.repos.values() for commit in repo.commits.values()]
        found = next((file for commit in commits for file in commit.files.values() if wanted(file)), None)
        if found is None:
            raise Refusal(404, "", "Not Found")
        return found


REPO = r"([^/]+/[^/]+)"
Route = Callable[..., Answer]
ROUTES: Mapping[Name, list[tuple[str, On, Route]]] = {
    "hub": [
        (r"/api/models", "api", Api.models),
        (rf"/api/models/{REPO}", "api", Api.info),
        (rf"/api/models/{REPO}/revision/([^/]+)", "api", Api.info),
        (rf"/api/models/{REPO}/tree/([^/]+)", "api", Api.tree),
        (rf"/api/models/{REPO}/refs", "api", Api.refs),
        (rf"/api/models/{REPO}/auth-check", "api", Api.auth_check),
        (rf"/api/models/{REPO}/xet-read-token/([^/]+)", "api", Api.xet_token),
        (rf"/api/resolve-cache/models/{REPO}/([^/]+)/(.+)", "resolve", Api.resolve),
        (rf"/{REPO}/resolve/([^/]+)/(.+)", "resolve", Api.resolve),
    ],
    "cdn": [(r"/lfs/([0-9a-f]+)/(.+)", "body", Api.lfs)],
    "cas": [
        (r"/v2/reconstructions/([0-9a-f]+)", "cas", Api.reconstruction),
        (r"/xorbs/([0-9a-f]+)/(\d+)/(.+)", "body", Api.xorb),
        (r"/v1/telemetry", "cas", Api.telemetry),
    ],
}


def listed(repo: Repo) -> dict[str, Any]:
    name = {"id": repo.name, "modelId": repo.name, "private": repo.private}
    return name | {"tags": list(repo.labels), "downloads": repo.downloads}


def commit_of(repo: Repo, revision: str) -> Commit:
    if (commit := repo.commit(revision)) is None:
        raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
    return commit


def refusal(fault: Fault) -> Answer:
    return Refusal(fault.status, "", f"a fault of {fault.status}", **fault.headers).answer


def as_json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None, on: On = "api") -> Answer:
    content = Plain(memoryview(json.dumps(value).encode()))
    return Answer(status, content, {"Content-Type": "application/json; charset=utf-8", **(headers or {})}, on)


def text(status: int, words: str, headers: Mapping[str, str]) -> Answer:
    content = Plain(memoryview(words.encode()))
    return Answer(status, content, {"Content-Type": "text/plain; charset=utf-8", **headers}, on="resolve")
