"""A stand-in of the hub's HTTP API, as far as huggingface_hub's own client speaks it for models: repositories are made,
files committed (all as regular ones, without LFS), deleted, listed and downloaded. Who writes, and who reads what is
private, needs the token. A new repository has a commit of .gitattributes, and is found by its name in any case.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants
from transformers.utils import hub as hub_of_transformers

from tests.serving import answering

TOKEN = "hf_of_the_stand_in"  # noqa: S105


@dataclass
class Repository:
    """The commits of a repository, newest last: (sha, files by name). One that is `gated` is seen and can't be read."""

    private: bool = False
    gated: bool = False
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=list)

    def commit(self, files: dict[str, bytes], deleted: Sequence[str] = ()) -> str:
        whole = {**(self.commits[-1][1] if self.commits else {}), **files}
        for file in deleted:
            del whole[file]
        sha = hashlib.sha1(repr((len(self.commits), sorted(whole.items()))).encode()).hexdigest()  # noqa: S324
        self.commits.append((sha, whole))
        return sha

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        if revision == "main":
            return self.commits[-1] if self.commits else None
        return next((commit for commit in self.commits if commit[0] == revision), None)


@dataclass
class Hub:
    """The stand-in: where it listens, its repositories, and what it has had: requests, 'METHOD path', and messages."""

    address: str
    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    out_of_order: int | None = None
    """The status that it answers all reading with, if it has one."""
    cut_off: bool = False
    """Whether the line goes when something is to be committed."""

    def own_name(self, name: str) -> str | None:
        """How a repository's name is written that is asked for in whatever case."""
        return next((own for own in self.repositories if own.lower() == name.lower()), None)


@contextmanager
def hub_server() -> Iterator[Hub]:
    """A stand-in that listens on this machine until the block ends."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.daemon_threads = True
        hub = Hub(f"http://127.0.0.1:{server.server_address[1]}")
        server.hub = hub  # type: ignore[attr-defined]
        with answering(server):
            yield hub


def speak_to(hub: Hub, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Has huggingface_hub's client, though imported already, take `hub` for the hub, with its cache in `folder`."""
    monkeypatch.setattr(constants, "ENDPOINT", hub.address)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "token"))
    monkeypatch.setattr(hub_of_transformers, "_hf_api", None)  # an earlier test's speaks to the hub itself, for long
    monkeypatch.setenv("HF_TOKEN", TOKEN)


def befall() -> None:
    """Has a child of the zygote, which has imported the client, take what its environment names for the hub."""
    speak_to(Hub(os.environ["HF_ENDPOINT"]), pytest.MonkeyPatch(), Path(os.environ["HF_HOME"]))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    """Or a body waits for a client, that waits, to say that it has the headers: 40 ms of each answer."""

    def log_message(self, *_: Any) -> None:
        """Says nothing."""

    @property
    def hub(self) -> Hub:
        hub: Hub = self.server.hub  # type: ignore[attr-defined]
        hub.requests.append(f"{self.command} {urlsplit(self.path).path}")
        return hub

    @property
    def parts(self) -> list[str]:
        return [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]

    @property
    def known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def do_POST(self) -> None:
        hub, body = self.hub, self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self._redirected(hub):
            return
        match self.parts:
            case ["api", "validate-yaml"]:
                self._answer({"warnings": [], "errors": []})
            case _ if not self.known:
                self._answer({"error": "Invalid username or password."}, 401)
            case ["api", "repos", "create"]:
                asked = json.loads(body)
                name = f"{asked['organization']}/{asked['name']}"
                if hub.own_name(name) is not None:
                    self._answer({"error": "You already created this model repo"}, 409)
                    return
                private = asked.get("private") or asked.get("visibility") == "private"
                hub.repositories[name] = Repository(bool(private))
                hub.repositories[name].commit({".gitattributes": b""})
                self._answer({"url": f"{hub.address}/{name}"})
            case ["api", "models", owner, name, "preupload", _]:
                files = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                         for file in json.loads(body)["files"]]  # fmt: skip
                self._answer({"files": files})
            case ["api", "models", *_, "commit", _] if hub.cut_off:
                self.close_connection = True
            case ["api", "models", owner, name, "commit", _]:
                lines = [json.loads(line) for line in body.splitlines()]
                added = [line["value"] for line in lines if line["key"] == "file"]
                sha = hub.repositories[f"{owner}/{name}"].commit(
                    {file["path"]: base64.b64decode(file["content"]) for file in added},
                    [line["value"]["path"] for line in lines if line["key"] == "deletedFile"],
                )
                hub.messages.extend(line["value"]["summary"] for line in lines if line["key"] == "header")
                url = f"{hub.address}/{owner}/{name}/commit/{sha}"
                self._answer({"commitUrl": url, "commitOid": sha, "success": True})
            case _:
                self._answer({"error": "no such call"}, 404)

    def do_GET(self) -> None:
        hub = self.hub
        if self._redirected(hub):
            return
        match self.parts:
            case _ if hub.out_of_order is not None:
                self._answer({"error": "out of order"}, hub.out_of_order)
            case ["api", "models", owner, name, *rest]:
                found = self._found(hub, f"{owner}/{name}", rest[1] if len(rest) > 1 else "main")
                if found is None:
                    return
                sha, files = found
                if rest[:1] == ["tree"]:
                    self._answer(
                        [{"type": "file", "path": n, "size": len(c), "oid": _oid(c)} for n, c in files.items()]
                    )
                else:
                    siblings = [{"rfilename": file} for file in files]
                    private = hub.repositories[f"{owner}/{name}"].private
                    known = {"sha": sha, "siblings": siblings, "tags": [], "private": private}
                    self._answer({"id": f"{owner}/{name}", **known})
            case [owner, name, "resolve", revision, *path]:
                self._file(hub, f"{owner}/{name}", revision, "/".join(path))
            case _:
                self._answer({"error": "no such call"}, 404)

    do_HEAD = do_GET  # noqa: N815

    def _redirected(self, hub: Hub) -> bool:
        """Whether a repository is asked for in another case than its own, and has been pointed to."""
        match self.parts:
            case ["api", "models", owner, name, *_] | [owner, name, "resolve", *_]:
                asked = f"{owner}/{name}"
                own = hub.own_name(asked) or asked
                if own != asked:
                    self._send(b"", 307, {"Location": self.path.replace(asked, own, 1)})
                return own != asked
        return False

    def _found(self, hub: Hub, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        repository = hub.repositories.get(name)
        if repository is None or (repository.private and not self.known):
            self._answer({"error": "Repository not found"}, 401, {"X-Error-Code": "RepoNotFound"})
            return None
        if repository.gated and not self.known:
            self._answer({"error": "Access is restricted"}, 403, {"X-Error-Code": "GatedRepo"})
            return None
        found = repository.at(revision)
        if found is None:
            self._answer({"error": "Invalid rev id"}, 404, {"X-Error-Code": "RevisionNotFound"})
        return found

    def _file(self, hub: Hub, name: str, revision: str, path: str) -> None:
        found = self._found(hub, name, revision)
        if found is None:
            return
        sha, files = found
        if path not in files:
            self._answer({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": sha})
            return
        self._send(files[path], 200, {"ETag": f'"{_oid(files[path])}"', "X-Repo-Commit": sha})

    def _answer(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(json.dumps(value).encode(), status, {"Content-Type": "application/json", **(headers or {})})

    def _send(self, content: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()  # noqa: S324
