"""Makes the calls of flows: requests in an account's name, rows of a batch, and files of results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from urllib.parse import quote

import msgspec

from batchling.core.fingerprint import digest
from batchling.core.model import JSON, Call, Flow, Headers, Item, Pieces, Request, Response, Site
from batchling.providers.base import BrokenOff, Refused, Unread

JSON_TYPE = ("content-type", "application/json")


@lru_cache(maxsize=1024)
def account_of(headers: Headers) -> str:
    """A digest of the headers that contain a credential and its organisation; their order does not matter."""
    return digest(*(part for pair in sorted(headers) for part in pair))


def chosen(headers: Headers, names: Iterable[str]) -> Headers:
    """The headers that have one of these names, in their original order."""
    return tuple(pair for pair in headers if pair[0] in names)


def row_pieces(prefix: str, items: Sequence[Item], suffix: bytes, between: bytes = b"") -> Pieces:
    """The rows of a batch as pieces that share the callers' bodies: `prefix % key`, body, `suffix`; and what is to be
    `between` two rows."""

    def make() -> Iterator[bytes]:
        ending = suffix + between
        for place, item in enumerate(items, 1):
            yield (prefix % item.key).encode()
            yield one_line(item.request.body)
            yield ending if place < len(items) else suffix

    around = len((prefix % "").encode()) + len(suffix) + len(between)
    held = sum(len(item.key) + len(item.request.body) for item in items)  # keys are ASCII
    return Pieces(make, around * len(items) + held - (len(between) if items else 0))


def edited_rows(items: Sequence[Item], keeps: Callable[[str], bool], between: bytes = b"") -> Pieces:
    """The rows of a batch as lines with the callers' bodies, from which only some keys are kept; and what is to be
    `between` two rows."""

    def make() -> Iterator[bytes]:
        for place, item in enumerate(items):
            body = {name: value for name, value in values_of(item.request.body).items() if keeps(name)}
            row = msgspec.json.encode({"custom_id": item.key, "body": body}) + b"\n"
            yield between + row if place else row

    return Pieces(make)


def one_line(body: bytes) -> bytes:
    """A JSON text on one line, and as long as before. A line break in JSON occurs only between tokens (inside a string
    it is escaped), so a space means the same."""
    if b"\n" in body or b"\r" in body:
        return body.replace(b"\r", b" ").replace(b"\n", b" ")
    return body


def values_of(body: bytes) -> dict[str, msgspec.Raw]:
    """The values of a caller's body by their keys, to be encoded again as they were; empty if it is not an object."""
    try:
        return _values.decode(one_line(body))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}


_values = msgspec.json.Decoder(dict[str, msgspec.Raw])


def request(method: str, at: Site, path: str, body: JSON = None) -> Request:
    """A call to `path` under the API root of a site, as the site's account, with a JSON body if one is given."""
    if body is None:
        return Request(method, at.target.base_url + path, at.headers)
    return Request(method, at.target.base_url + path, (*at.headers, JSON_TYPE), msgspec.json.encode(body))


def segment(id: str) -> str:
    """An id as one segment of a path, whatever characters it contains."""
    return quote(id, safe="") if id not in (".", "..") else quote(id, safe="").replace(".", "%2E")


def read_rows(asked: Request) -> Flow[None]:
    """Read a file of results. Raises `Refused`."""
    response = yield Call(asked, rows=True)
    if not response.ok:
        raise Refused(response)


def every(files: Iterable[tuple[Flow[None], bool]]) -> Flow[None]:
    """Read result files, each given as its own flow and whether it may contain answers. A file that cannot be read does
    not stop the others from being read. If no file could be read, raises what the first one with answers raised; if
    some could, or if only the reasons of failures are missing, raises `Unread`."""
    lost: list[tuple[Refused | BrokenOff, bool]] = []
    read = 0
    for flow, vital in files:
        try:
            yield from flow
        except (Refused, BrokenOff) as fault:
            lost.append((fault, vital))
        else:
            read += 1
    lost.sort(key=lambda each: not each[1])
    if lost:
        worst, vital = lost[0]
        if vital and not read:
            raise worst
        raise Unread(worst.response if isinstance(worst, Refused) else Response(502, (), b""), vital=vital) from worst
