"""A Hugging Face Hub on a loopback port, for the real client `huggingface_hub`: repositories, commits, downloads.

It answers what the client asks for when files are pushed and pulled, with files in memory. Every file is a regular one: the client
sends its content in the commit. A card whose header is no YAML, or whose licence or results have the wrong form, is refused as on
the Hub. Redirection, LFS and Xet are not there.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import yaml

KINDS = {"models": "model", "datasets": "dataset"}
TOKEN = "hf_" + "a" * 30
"""The only token that may write."""


@dataclass
class Repository:
    """A repository: its files at the newest commit."""

    kind: str
    name: str
    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)

    @property
    def sha(self) -> str:
        return hashlib.sha1(repr(sorted(self.files.items())).encode()).hexdigest()

    def info(self) -> dict:
        siblings = [{"rfilename": name, "size": len(content)} for name, content in sorted(self.files.items())]
        return {
            "_id": "0" * 24,
            "id": self.name,
            "modelId": self.name,
            "sha": self.sha,
            "private": self.private,
            "siblings": siblings,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "lastModified": "2026-01-01T00:00:00.000Z",
            "createdAt": "2026-01-01T00:00:00.000Z",
        }


class HubServer:
    """Context manager: the Hub at `url`, with `repositories` by kind and name."""

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.unknown: list[str] = []
        self.authorizations: set[str | None] = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> HubServer:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exception) -> None:
        self._server.shutdown()
        self._server.server_close()

    def files(self, kind: str, name: str) -> dict[str, bytes]:
        return self.repositories[kind, name].files


def check_card(content: bytes) -> str | None:
    """What the Hub says against a card, or `None`."""
    match = re.match(rb"---\n(.*?)\n---\n", content, re.DOTALL)
    try:
        header = yaml.safe_load(match[1]) if match else {}
    except yaml.YAMLError as error:
        return f"Invalid metadata: {error}"
    if not isinstance(header, dict):
        return "Invalid metadata: no mapping"
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", str(header.get("license", "other"))):
        return f'"license" must be one of the known identifiers, and is {header["license"]!r}'
    for entry in header.get("model-index") or []:
        for result in entry["results"]:
            if not {"type"} <= set(result["task"]) or not {"type", "name"} <= set(result["dataset"]):
                return '"model-index" is incomplete'
            if not all({"type", "value"} <= set(metric) for metric in result["metrics"]):
                return '"model-index" has a metric without a value'
    return None


def _handler(hub: HubServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args) -> None:
            pass

        def do_HEAD(self) -> None:
            self._get()

        def do_GET(self) -> None:
            self._get()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = unquote(urlsplit(self.path).path)
            hub.authorizations.add(self.headers.get("Authorization"))
            if path == "/api/validate-yaml":
                problem = check_card(json.loads(body)["content"].encode())
                return self._json(
                    {"errors": [{"message": problem}] if problem else [], "warnings": []}, 400 if problem else 200
                )
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                return self._json({"error": "Invalid username or password."}, 401)
            if path == "/api/repos/create":
                return self._create(json.loads(body))
            match = re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/]+)/(preupload|commit)/([^/]+)", path)
            repository = hub.repositories.get((KINDS[match[1]], match[2])) if match else None
            if match is None or repository is None:
                return self._missing()
            if match[3] == "preupload":
                files = [
                    {**file, "uploadMode": "regular", "shouldIgnore": False} for file in json.loads(body)["files"]
                ]
                return self._json({"files": files})
            return self._commit(repository, body)

        def _create(self, asked: dict) -> None:
            kind = asked.get("type") or "model"
            name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
            there = (kind, name) in hub.repositories
            if not there:
                hub.repositories[kind, name] = Repository(
                    kind, name, asked.get("visibility") == "private" or bool(asked.get("private"))
                )
            folder = "datasets/" if kind == "dataset" else ""
            self._json({"url": f"{hub.url}/{folder}{name}", "error": "exists"}, 409 if there else 200)

        def _commit(self, repository: Repository, body: bytes) -> None:
            for line in body.splitlines():
                entry = json.loads(line)
                value = entry["value"]
                if entry["key"] == "header":
                    repository.commits.append(value["summary"])
                elif entry["key"] == "file":
                    content = base64.b64decode(value["content"])
                    if value["path"] == "README.md" and (problem := check_card(content)):
                        return self._json({"error": problem}, 400)
                    repository.files[value["path"]] = content
                elif entry["key"] == "deletedFile":
                    del repository.files[value["path"]]
            self._json(
                {
                    "commitUrl": f"{hub.url}/{repository.name}/commit/{repository.sha}",
                    "commitOid": repository.sha,
                    "success": True,
                }
            )

        def _get(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.authorizations.add(self.headers.get("Authorization"))
            if match := re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/revision/([^/]+))?", path):
                repository = hub.repositories.get((KINDS[match[1]], match[2]))
                return self._json(repository.info()) if self._may_read(repository) else self._missing()
            if match := re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/]+)/tree/([^/]+)(?:/.*)?", path):
                repository = hub.repositories.get((KINDS[match[1]], match[2]))
                if not self._may_read(repository):
                    return self._missing()
                files = repository.files.items()
                return self._json(
                    [{"type": "file", "path": name, "size": len(data), "oid": _oid(data)} for name, data in files]
                )
            if match := re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/(?:resolve|raw)/([^/]+)/(.+)", path):
                repository = hub.repositories.get(("dataset" if match[1] else "model", match[2]))
                if not self._may_read(repository):
                    return self._missing()
                return self._file(repository, match[4])
            if path != "/api/agent-harnesses":  # which the client asks for its own statistics
                hub.unknown.append(path)
            return self._missing()

        def _may_read(self, repository: Repository | None) -> bool:
            return repository is not None and (
                not repository.private or self.headers.get("Authorization") == f"Bearer {TOKEN}"
            )

        def _file(self, repository: Repository, name: str) -> None:
            content = repository.files.get(name)
            commit = {"X-Repo-Commit": repository.sha}
            if content is None:
                return self._json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound", **commit})
            kind = {"Content-Type": "application/octet-stream"}
            return self._answer(content, 200, {"ETag": f'"{_oid(content)}"', **commit, **kind})

        def _missing(self) -> None:
            self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})

        def _json(self, value: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
            self._answer(json.dumps(value).encode(), status, {"Content-Type": "application/json", **(headers or {})})

        def _answer(self, content: bytes, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

    return Handler


def _oid(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
