"""Google Cloud Storage's JSON API, as far as a batch needs it: uploading rows and reading the files of a folder.

Facts: Cloud Storage's JSON API reference (v1).
"""

from __future__ import annotations

import re

from batchling.core.model import JSON, Call, Flow, Headers, Pieces, Request
from batchling.providers import pages
from batchling.providers.asking import every, read_rows, segment
from batchling.providers.base import Refused
from batchling.providers.reading import read_objects, read_text

_IS_THERE = 412
"""The status returned under `ifGenerationMatch=0` for an object that exists: repeating an upload is harmless."""


def upload(address: str, headers: Headers, uri: str, rows: Pieces) -> Flow[None]:
    """Create an object (`gs://bucket/name`) that contains the rows, unless it exists already."""
    bucket, name = _place(uri)
    query = f"uploadType=media&name={segment(name)}&ifGenerationMatch=0"
    url = f"{address}/upload/storage/v1/b/{segment(bucket)}/o?{query}"
    response = yield Call(Request("POST", url, (*headers, ("content-type", "application/jsonl"))), rows)
    if not response.ok and response.status != _IS_THERE:
        raise Refused(response)


def download(address: str, headers: Headers, folder: str, wanted: re.Pattern[str]) -> Flow[None]:
    """Yield a `Call(rows=True)` for each object in a folder, or below it, whose file name matches `wanted`."""
    bucket, prefix = _place(folder)
    objects = f"{address}/storage/v1/b/{segment(bucket)}/o"
    names = yield from _names(objects, headers, f"{prefix}/" if prefix else "")
    yield from every(
        (read_rows(Request("GET", f"{objects}/{segment(name)}?alt=media", headers)), True)
        for name in names
        if wanted.fullmatch(name.rpartition("/")[2])
    )


def _names(objects: str, headers: Headers, prefix: str) -> Flow[list[str]]:
    found: dict[str, None] = {}

    def note(page: dict[str, JSON]) -> None:
        names = (read_text(each.get("name")) for each in read_objects(page.get("items")))
        found.update(dict.fromkeys(filter(None, names)))

    query = f"{objects}?prefix={segment(prefix)}"
    yield from pages.search(lambda place: Request("GET", query + place, headers), note)
    return list(found)


def _place(uri: str) -> tuple[str, str]:
    """Bucket and name of `gs://bucket/name`."""
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    return bucket, name.strip("/")
