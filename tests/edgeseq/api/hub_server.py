"""A stand-in for the Hugging Face hub on loopback: those parts of its HTTP API that its own client
calls to create a repository, to commit to it (with Git LFS for model files), and to read it."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

LFS_SUFFIXES = (".tflite", ".npy", ".bin")
REVISIONS = ("main",)


class HubRepository:
    """Its files by path, as of the newest commit, and how many commits there were."""

    def __init__(self, *, private: bool) -> None:
        self.private = private
        self.files: dict[str, bytes] = {".gitattributes": b"*.tflite filter=lfs\n"}
        self.commits = 1

    @property
    def head(self) -> str:
        return hashlib.sha1(str(self.commits).encode(), usedforsecurity=False).hexdigest()


class HubServer(http.server.ThreadingHTTPServer):
    """Repositories by name; every request but the upload to storage must carry `token`.

    `refusal`: the text of an error 403 for every request.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.token = "hf_" + hashlib.sha256(b"stand-in").hexdigest()[:34]
        self.repositories: dict[str, HubRepository] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.refusal = ""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def serve_hub() -> Iterator[HubServer]:
    """The server in a thread, gone at the end."""
    with HubServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(f"{self.command} {path}")
        length = int(self.headers["Content-Length"] or 0)
        body = self.rfile.read(length)
        if self.command == "PUT":
            self.store(path, body)
        elif self.headers["Authorization"] != f"Bearer {self.server.token}":
            self.refuse(401, "Invalid username or password.")
        elif self.server.refusal:
            self.refuse(403, self.server.refusal)
        else:
            self.route(path, body)

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815 - the names that the base class calls

    def route(self, path: str, body: bytes) -> None:
        if path == "/api/repos/create":
            self.create(json.loads(body))
        elif path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif path == "/lfs/verify":
            known = json.loads(body)["oid"] in self.server.objects
            self.answer({}) if known else self.refuse(404, "no such object")
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(.*))?", path):
            self.on_repository(match[1], match[2] or "", body)
        elif path.endswith(".git/info/lfs/objects/batch"):
            self.lfs_batch(json.loads(body))
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self.resolve(match[1], match[2], match[3])
        else:
            self.refuse(404, f"the stand-in does not know {path}")

    def create(self, wanted: dict[str, Any]) -> None:
        name = f"{wanted['organization']}/{wanted['name']}"
        if name in self.server.repositories:
            address = f"{self.server.address}/{name}"
            message = "You already created this model repo"
            self.send(409, json.dumps({"error": message, "url": address}).encode(), {})
            return
        is_private = wanted.get("visibility") == "private" or wanted.get("private") is True
        self.server.repositories[name] = HubRepository(private=is_private)
        self.answer({"url": f"{self.server.address}/{name}", "name": name})

    def on_repository(self, name: str, action: str, body: bytes) -> None:
        repository = self.server.repositories.get(name)
        if repository is None:
            self.refuse(404, "Repository not found", code="RepoNotFound")
        elif action.startswith("preupload/"):
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(LFS_SUFFIXES) else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            self.answer({"files": files})
        elif action.startswith("commit/"):
            self.commit(name, repository, body)
        elif action == "" or action.removeprefix("revision/") in (*REVISIONS, repository.head):
            siblings = [{"rfilename": path} for path in sorted(repository.files)]
            self.answer(
                {
                    "id": name,
                    "modelId": name,
                    "sha": repository.head,
                    "private": repository.private,
                    "siblings": siblings,
                    "tags": [],
                    "downloads": 0,
                    "likes": 0,
                }
            )
        else:
            self.refuse(404, "Revision not found", code="RevisionNotFound")

    def lfs_batch(self, wanted: dict[str, Any]) -> None:
        address = self.server.address
        objects = [
            {
                "oid": entry["oid"],
                "size": entry["size"],
                "actions": {
                    "upload": {"href": f"{address}/storage/{entry['oid']}"},
                    "verify": {"href": f"{address}/lfs/verify"},
                },
            }
            for entry in wanted["objects"]
        ]
        self.answer({"transfer": "basic", "objects": objects})

    def store(self, path: str, body: bytes) -> None:
        oid = path.rsplit("/", 1)[-1]
        if hashlib.sha256(body).hexdigest() != oid:
            self.refuse(400, "the content does not have the hash in its address")
            return
        self.server.objects[oid] = body
        self.answer({})

    def commit(self, name: str, repository: HubRepository, body: bytes) -> None:
        files = dict(repository.files)
        for line in body.splitlines():
            operation = json.loads(line)
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile":
                files[value["path"]] = self.server.objects[value["oid"]]
            elif operation["key"] == "deletedFile":
                del files[value["path"]]
        repository.files = files
        repository.commits += 1
        head = repository.head
        self.answer(
            {
                "success": True,
                "commitOid": head,
                "commitUrl": f"{self.server.address}/{name}/commit/{head}",
            }
        )

    def resolve(self, name: str, revision: str, path: str) -> None:
        repository = self.server.repositories.get(name)
        if repository is None or revision not in (*REVISIONS, repository.head):
            self.refuse(404, "Revision not found", code="RevisionNotFound")
        elif path not in repository.files:
            self.refuse(404, "Entry not found", code="EntryNotFound")
        else:
            content = repository.files[path]
            etag = f'"{hashlib.sha256(content).hexdigest()}"'
            self.send(200, content, {"ETag": etag, "X-Repo-Commit": repository.head})

    def answer(self, value: object) -> None:
        self.send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def refuse(self, status: int, message: str, *, code: str = "") -> None:
        headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self.send(status, json.dumps({"error": message}).encode(), headers)

    def send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        """Nothing is printed."""
