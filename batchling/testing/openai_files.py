"""OpenAI's Files API at the embedded server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec
from aiohttp import web

from batchling.testing.dialect import ServerDialect
from batchling.testing.hosts import outer_url
from batchling.testing.replies import Refusal, refusal, reply
from batchling.testing.state import ServerState

DAY = 86_400

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class OpenAIFiles:
    """The handlers below `/files`. `account` identifies the caller, and refuses unknown ones."""

    def __init__(self, shared: ServerState, account: Callable[[web.Request], str], dialect: ServerDialect) -> None:
        self._shared = shared
        self._dialect = dialect
        self._account = account
        self._files: dict[str, dict[str, Any]] = {}
        self._contents: dict[str, bytes] = {}

    def routes(self, root: str) -> list[web.RouteDef]:
        """The routes of every call that this API answers."""
        return [
            web.post(root + self._dialect.uploads, self._upload),
            web.get(root + "/files", self._list),
            web.get(root + "/files/{id}", self._get),
            web.delete(root + "/files/{id}", self._delete),
            web.get(root + "/files/{id}/content", self._content),
            web.get(root + "/signed/{id}", self._signed),
        ]

    def content_of(self, file_id: str, account: str) -> bytes | None:
        """The content of an account's file; None if it has no file with this id."""
        file = self._files.get(file_id)
        return self._contents[file_id] if file is not None and file["account"] == account else None

    def is_pending(self, file_id: str) -> bool:
        """Whether a file is not processed yet."""
        return file_id in self._files and self._files[file_id]["status"] == "pending"

    async def _upload(self, request: web.Request) -> web.Response:
        account = self._account(request)
        purpose, name, given, content = "", "", "", b""
        async for part in await request.multipart():
            field: Any = part
            if field.name == "purpose":
                purpose = (await field.read()).decode()
            elif field.name == "file_name":
                given = (await field.read()).decode()
            elif field.name == "file":
                name, content = field.filename or "upload", bytes(await field.read())
        if purpose != self._dialect.purpose:
            raise refusal(400, f"'{purpose}' is not one of ['{self._dialect.purpose}'] - 'purpose'", param="purpose")
        if self._dialect.needs_name and not given:
            raise refusal(400, "file_name is required", param="file_name")
        if len(content) > self._dialect.file_bytes:
            raise refusal(400, "File is too large.")
        if objection := self._shared.objection(content, "upload"):
            raise refusal(objection.status, objection.message, objection.param, objection.code)
        file = self.add(account, given or name, purpose, content)
        if self._dialect.pending:
            self._files[file["id"]]["status"] = file["status"] = "pending"
        return reply(self._dialect.file(file), self._dialect.uploaded)

    def add(self, account: str, name: str, purpose: str, content: bytes, kind: str = "") -> dict[str, Any]:
        """Store a new file, with an id that ends with its kind, and return the API's description of it."""
        now = int(self._shared.now())
        file: dict[str, Any] = {
            "object": "file",
            "id": f"file-{self._shared.number():024d}{kind}",
            "purpose": purpose,
            "filename": name,
            "bytes": len(content),
            "created_at": now,
            "expires_at": now + 30 * DAY,
            "status": "processed",
            "status_details": None,
        }
        self._files[file["id"]] = {**file, "account": account}
        self._contents[file["id"]] = content
        return file

    def _file(self, request: web.Request) -> dict[str, Any]:
        file = self._files.get(request.match_info["id"])
        if file is None or file["account"] != self._account(request):
            raise refusal(404, f"No such File object: {request.match_info['id']}", param="id")
        return file

    async def _get(self, request: web.Request) -> web.Response:
        file = self._file(request)
        file["status"] = "processed"
        return reply(_public(file))

    async def _list(self, request: web.Request) -> web.Response:
        account = self._account(request)
        files = [_public(file) for file in reversed(self._files.values()) if file["account"] == account]
        return reply({"object": "list", "data": files, "has_more": False})

    async def _delete(self, request: web.Request) -> web.Response:
        file = self._file(request)
        del self._files[file["id"]], self._contents[file["id"]]
        return reply({"object": "file", "deleted": True, "id": file["id"]})

    async def _content(self, request: web.Request) -> web.Response:
        file_id = request.match_info["id"]
        if file_id.endswith(("_output", "_error")) and file_id not in self._files:
            self._account(request)
            return web.Response(body=b"", content_type="application/octet-stream")  # has an id before any rows
        content = self._contents[self._file(request)["id"]]
        if self._dialect.elsewhere:
            place = outer_url(request, request.path.replace("/files/", "/signed/")[:-8], signed=True)
            return web.Response(status=302, headers={"location": place})
        return web.Response(body=content, content_type="application/octet-stream")

    async def _signed(self, request: web.Request) -> web.Response:
        """The file behind a signed link, which needs no credential and accepts none."""
        if "authorization" in request.headers:
            raise refusal(400, "Only one auth mechanism allowed")
        return web.Response(body=self._contents[request.match_info["id"]], content_type="application/octet-stream")


def _public(file: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in file.items() if name != "account"}


def worded(dialect: ServerDialect, routes: Iterable[web.RouteDef]) -> list[web.RouteDef]:
    """The routes, with refusals in the provider's own wording."""
    return [web.route(each.method, each.path, _worded(dialect, each.handler)) for each in routes]


def _worded(dialect: ServerDialect, handler: Handler) -> Handler:
    async def speaking(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except Refusal as no:
            body = no.response.body
            payload = msgspec.json.decode(body if isinstance(body, bytes) else b"{}")
            reported = dialect.complaint(no.response.status, payload)
            if isinstance(reported, str):
                raise Refusal(web.Response(text=reported, status=no.response.status)) from no
            raise Refusal(reply(reported, no.response.status)) from no

    return speaking
