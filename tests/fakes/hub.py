"""A stand-in of the Hugging Face hub: the part of its HTTP API that pushing and pulling a checkpoint asks for."""

from __future__ import annotations

import base64
import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import yaml

WRITER, READER = "hf_writer", "hf_reader"
"""Tokens of one who may write anywhere, and of one who may only read."""


class Hub(ThreadingHTTPServer):
    """What huggingface_hub asks of the hub: repositories with branches, files in git and in large-file storage."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.repositories: dict[str, dict[str, dict[str, bytes]]] = {}  # files by name by branch
        self.private: dict[str, bool] = {}
        self.stored: dict[str, bytes] = {}  # large files by SHA-256
        self.commits: dict[str, tuple[str, str]] = {}  # repository and branch
        self.messages: list[str] = []
        self.starts: list[tuple[str, int]] = []  # file and first byte of each download
        self.storage_logins: list[str | None] = []  # that came along to the large-file storage
        self.breaks = 0  # downloads that end in the midst
        self.down = False  # whether downloads that ended so are not taken up

    def files(self, repo_id: str = "me/small", branch: str = "main") -> dict[str, bytes]:
        return self.repositories[repo_id][branch]


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        parts = [unquote(part) for part in path.strip("/").split("/")]
        if parts[0] == "storage":
            self.server.storage_logins.append(self.headers["Authorization"])
            return self.send_file(parts[1], self.server.stored[parts[1]])
        repo_id = "/".join(parts[2:4] if parts[0] == "api" else parts[:2])
        if repo_id not in self.server.repositories or (self.server.private[repo_id] and not self.login()):
            return self.refuse(404 if self.login() else 401, "RepoNotFound", "Repository not found")
        if parts[2] == "resolve":
            branch = self.server.commits[parts[3]][1]
            return self.send_content("/".join(parts[4:]), self.server.files(repo_id, branch)["/".join(parts[4:])])
        branch = parts[5] if len(parts) > 5 else "main"
        if branch not in self.server.repositories[repo_id]:
            return self.refuse(404, "RevisionNotFound", "Invalid rev id")
        files = self.server.files(repo_id, branch)
        siblings = [{"rfilename": name, "size": len(content), "blobId": "0"} for name, content in files.items()]
        self.answer(
            {
                "id": repo_id,
                "sha": self.commit(repo_id, branch),
                "private": self.server.private[repo_id],
                "siblings": siblings,
            }
        )

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        if not self.login():
            return self.refuse(401, None, "Invalid username or password.")
        if parts[-1] == "validate-yaml":
            front = yaml.safe_load(json.loads(body)["content"].split("---")[1])
            return self.answer({"warnings": [], "errors": []} if front["license"] else {})
        if self.headers["Authorization"] != f"Bearer {WRITER}":
            return self.refuse(403, None, "You don't have the rights to create a model under the namespace")
        if parts[1:] == ["repos", "create"]:
            asked = json.loads(body)
            repo_id = f"{asked['organization']}/{asked['name']}"
            there = repo_id in self.server.repositories
            self.server.repositories.setdefault(repo_id, {"main": {".gitattributes": b""}})
            self.server.private.setdefault(repo_id, asked["visibility"] == "private")
            return self.answer({"url": f"{self.server.url}/{repo_id}"}, 409 if there else 200)
        if parts[-1] == "batch":
            return self.answer({"objects": [self.storing(one) for one in json.loads(body)["objects"]]})
        repo_id, branch = "/".join(parts[2:4]), parts[5]
        if parts[4] == "branch":
            self.server.repositories[repo_id].setdefault(branch, dict(self.server.files(repo_id)))
            return self.answer({})
        if parts[4] == "preupload":
            modes = [(file["path"], "lfs" if file["path"].endswith(".safetensors") else "regular")
                     for file in json.loads(body)["files"]]  # fmt: skip
            files = [{"path": path, "uploadMode": mode, "shouldIgnore": False} for path, mode in modes]
            return self.answer({"files": files})
        assert parts[4] == "commit"
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                self.server.messages.append(value["summary"])
                continue
            large = line["key"] == "lfsFile"
            content = self.server.stored[value["oid"]] if large else base64.b64decode(value["content"])
            self.server.files(repo_id, branch)[value["path"]] = content
        commit = self.commit(repo_id, branch)
        self.answer({"commitUrl": f"{self.server.url}/{repo_id}/commit/{commit}", "commitOid": commit})

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        assert hashlib.sha256(content).hexdigest() == self.path.rpartition("/")[2]
        self.server.stored[self.path.rpartition("/")[2]] = content
        self.answer({})

    def login(self) -> bool:
        return self.headers["Authorization"] in (f"Bearer {WRITER}", f"Bearer {READER}")

    def commit(self, repo_id: str, branch: str) -> str:
        digest = hashlib.sha1(repr((repo_id, branch, self.server.files(repo_id, branch))).encode()).hexdigest()
        self.server.commits[digest] = repo_id, branch
        return digest

    def storing(self, one: dict) -> dict:
        upload = {} if one["oid"] in self.server.stored else {"upload": {"href": f"{self.server.url}/up/{one['oid']}"}}
        return {**one, "actions": upload} if upload else one

    def send_content(self, name: str, content: bytes) -> None:
        """Sends a small file; a large one is at another host, as on the hub."""
        digest = hashlib.sha256(content).hexdigest()
        if name.endswith(".safetensors"):
            self.server.stored.setdefault(digest, content)
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{self.server.server_address[1]}/storage/{digest}")
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self.send_file(name, content)

    def send_file(self, name: str, content: bytes) -> None:
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        self.server.starts.append((name, start))
        if start and self.server.down:
            return self.refuse(500, None, "not now")
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        rest = content[start:]
        if self.server.breaks and name in self.server.stored:
            self.server.breaks -= 1
            rest = rest[: len(rest) // 2]
            self.close_connection = True
        self.wfile.write(rest)

    def answer(self, values: dict, status: int = 200, **headers: str) -> None:
        content = json.dumps(values).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def refuse(self, status: int, code: str | None, message: str) -> None:
        self.answer(
            {"error": message}, status, **{"X-Error-Message": message}, **({"X-Error-Code": code} if code else {})
        )

    def log_message(self, format: str, *args: object) -> None:
        """Keeps quiet."""
