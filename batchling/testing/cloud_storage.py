"""Google's Cloud Storage at the embedded server, as strict as the original."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from batchling.testing.faults import Body
from batchling.testing.google_wordings import google_page, vertex_refused
from batchling.testing.replies import reply
from batchling.testing.state import ServerState


class CloudStorage:
    """The handlers below `/storage`. `account` refuses unknown callers; all others share the buckets."""

    def __init__(self, shared: ServerState, account: Callable[[web.Request], str]) -> None:
        self._shared = shared
        self._account = account
        self._objects: dict[tuple[str, str], bytes] = {}

    def routes(self, prefix: str) -> list[web.RouteDef]:
        """The routes of every call that this API answers."""
        stored = prefix + "/storage/v1/b/{bucket}/o"
        return [
            web.post(prefix + "/upload/storage/v1/b/{bucket}/o", self._upload),
            web.get(stored, self._list),
            web.get(stored + "/{object:.+}", self._download),
        ]

    def get(self, uri: str) -> bytes | None:
        """The content of an object; None if there is none at this URI."""
        return self._objects.get(_split(uri))

    def put(self, uri: str, content: bytes) -> None:
        """Store an object."""
        self._objects[_split(uri)] = content

    async def _upload(self, request: web.Request) -> web.Response:
        self._account(request)
        name = request.query.get("name", "")
        if request.query.get("uploadType") != "media" or not name:
            raise vertex_refused(400, "Required parameter: name")
        place = (request.match_info["bucket"], name)
        content = await request.read()
        if request.query.get("ifGenerationMatch") == "0" and place in self._objects:
            raise vertex_refused(412, "At least one of the pre-conditions you specified did not hold.")
        self._objects[place] = content
        return reply(_described(place, content))

    async def _list(self, request: web.Request) -> web.Response:
        self._account(request)
        bucket, prefix = request.match_info["bucket"], request.query.get("prefix", "")
        found = sorted(place for place in self._objects if place[0] == bucket and place[1].startswith(prefix))
        begin = page_start(request)
        end = begin + self._shared.page_size(request.query.get("maxResults", ""))
        items = [_described(place, self._objects[place]) for place in found[begin:end]]
        token = str(end) if end < len(found) else ""
        return reply({"kind": "storage#objects", **google_page("items", items, token)})

    async def _download(self, request: web.Request) -> web.Response:
        self._account(request)
        place = (request.match_info["bucket"], request.match_info["object"])
        content = self._objects.get(place)
        if content is None:
            raise vertex_refused(404, f"No such object: {place[0]}/{place[1]}")
        if request.query.get("alt") != "media":
            return reply(_described(place, content))
        return web.Response(body=content, content_type="application/octet-stream")


def page_start(request: web.Request) -> int:
    """Where the page of a list begins that a call requests."""
    token = request.query.get("pageToken", "0")
    return int(token) if token.isdecimal() else 0


def _split(uri: str) -> tuple[str, str]:
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    return bucket, name


def _described(place: tuple[str, str], content: bytes) -> Body:
    return {"kind": "storage#object", "bucket": place[0], "name": place[1], "size": str(len(content))}
