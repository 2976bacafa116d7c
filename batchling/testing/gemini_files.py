"""Gemini's Files API at the embedded server."""

from __future__ import annotations

from aiohttp import web

from batchling.providers.samples.gemini import lower_camel
from batchling.testing.faults import Body
from batchling.testing.google_wordings import refused
from batchling.testing.hosts import outer_url
from batchling.testing.replies import Refusal, reply
from batchling.testing.served import ServedApi
from batchling.testing.state import ServerState


class GeminiFiles:
    """The handlers of uploads, downloads and lists, in addition to those of an API."""

    def __init__(self, api: ServedApi, shared: ServerState) -> None:
        self._api = api
        self._shared = shared
        self._files: dict[str, Body] = {}
        self.contents: dict[str, bytes] = {}

    def routes(self, prefix: str) -> list[web.RouteDef]:
        """The routes of every call that is about files."""
        return [
            web.post(prefix + "/upload/v1beta/files", self._upload),
            web.get(prefix + "/v1beta/files", self._list),
            web.get(prefix + "/download/v1beta/files/{id}:download", self._download),
        ]

    def content_of(self, name: str, account: str) -> bytes:
        """The content of an account's file. Raises a 404 if it has no file of this name."""
        if name not in self.contents or self._files[name]["account"] != account:
            raise _not_found(name)
        return self.contents[name]

    async def _upload(self, request: web.Request) -> web.Response:
        account = self._api.account(request)
        command = request.headers.get("x-goog-upload-command", "")
        if command == "start" and request.headers.get("x-goog-upload-protocol") == "resumable":
            named = lower_camel((await self._api.body_of(request)).get("file") or {})
            place = f"{outer_url(request, request.path)}?upload_id={named.get('displayName')}"
            return web.Response(headers={"x-goog-upload-url": place, "x-goog-upload-status": "active"})
        if command != "upload, finalize" or request.headers.get("x-goog-upload-offset") != "0":
            raise refused(400, "unknown upload command")
        content = await request.read()
        self._api.check(content, "upload")
        return reply({"file": self.add(account, request.query["upload_id"], content)})

    def add(self, account: str, display_name: str, content: bytes, kind: str = "") -> Body:
        """Store a new file, with a name that begins with its kind, and return the API's description of it."""
        name = f"files/{kind}{self._shared.number():012d}"
        file: Body = {"name": name, "displayName": display_name, "sizeBytes": str(len(content)), "state": "ACTIVE"}
        self._files[name] = {**file, "account": account}
        self.contents[name] = content
        return file

    async def _list(self, request: web.Request) -> web.Response:
        account = self._api.account(request)
        files = [file for file in self._files.values() if file["account"] == account]
        return reply({"files": [{name: file[name] for name in file if name != "account"} for file in files]})

    async def _download(self, request: web.Request) -> web.Response:
        name = f"files/{request.match_info['id']}"
        if name not in self.contents:
            raise _not_found(name)
        content = self.content_of(name, self._api.account(request))
        return web.Response(body=content, content_type="application/octet-stream")


def _not_found(name: str) -> Refusal:
    return refused(404, f"File {name} not found")
