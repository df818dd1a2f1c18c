"""The part of the Hugging Face Hub's HTTP interface that its library needs to upload and download a model."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

TOKEN = "hf_test"


class Hub(ThreadingHTTPServer):
    """The Hub with its models: files by name, by model."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.models: dict[str, dict[str, bytes]] = {}
        self.private: set[str] = set()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def hub() -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def _commit(files: dict[str, bytes]) -> str:
    return hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _answer(self, content: Any, status: int = 200, head: dict[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(head or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _missing(self) -> None:
        self._answer({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urlsplit(self.path).path
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer({"error": "Invalid credentials"}, 401)
        elif path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
            self.server.models.setdefault(name, {})
            self.server.private |= {name} if asked.get("private") or asked.get("visibility") == "private" else set()
            self._answer({"url": f"{self.server.address}/{name}", "name": name, "id": name})
        elif path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif "/preupload/" in path:
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            self._answer({"files": files})
        elif "/commit/" in path:
            name = path.removeprefix("/api/models/").partition("/commit/")[0]
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.server.models[name][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            oid = _commit(self.server.models[name])
            url = f"{self.server.address}/{name}/commit/{oid}"
            self._answer({"success": True, "commitOid": oid, "commitUrl": url})
        else:
            self._answer({"error": path}, 500)

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path.startswith("/api/models/"):
            name, _, rest = path.removeprefix("/api/models/").partition("/revision/")
            name, _, tree = name.partition("/tree/")
            if name not in self.server.models:
                self._missing()
            elif rest not in ("", "main", _commit(self.server.models[name])) and not tree:
                self._answer({"error": "Invalid rev id"}, 404, {"X-Error-Code": "RevisionNotFound"})
            elif tree:
                files = self.server.models[name].items()
                self._answer([{"type": "file", "path": n, "size": len(c), "oid": _etag(c)} for n, c in files])
            else:
                files = self.server.models[name]
                siblings = [{"rfilename": file, "size": len(content)} for file, content in files.items()]
                self._answer({"id": name, "modelId": name, "sha": _commit(files), "siblings": siblings})
        else:
            name, _, rest = path.lstrip("/").partition("/resolve/")
            files = self.server.models.get(name, {})
            file = rest.partition("/")[2]
            if file not in files:
                self._answer({"error": file}, 404, {"X-Error-Code": "EntryNotFound"})
            else:
                head = {"ETag": f'"{_etag(files[file])}"', "X-Repo-Commit": _commit(files), "Accept-Ranges": "bytes"}
                self._answer(files[file], head=head)

    do_HEAD = do_GET  # noqa: N815 # as http.server calls it


def _etag(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
