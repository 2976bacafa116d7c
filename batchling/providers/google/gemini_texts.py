"""Calls to Gemini that embed several texts: split into a row for each text, and joined into one answer again."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from batchling.core.fingerprint import decode_body
from batchling.core.model import JSON, Item
from batchling.providers.reading import read_count, read_object, read_objects


def parts(items: Sequence[Item]) -> list[JSON]:
    """One row for each text of calls that embed several texts."""
    rows: list[JSON] = []
    for item in items:
        texts = read_objects((decode_body(item.request.body) or {}).get("requests"))
        places = ({"key": item.key, "part": part, "of": len(texts)} for part in range(len(texts)))
        rows += [{"request": text, "metadata": place} for text, place in zip(texts, places, strict=True)]
    return rows


def joined(rows: Sequence[bytes]) -> list[bytes]:
    """The rows, with those of one call joined into one: if an embedding failed, its error is the answer to the call."""
    whole: list[bytes] = []
    calls: dict[str, dict[int, dict[str, JSON]]] = {}
    for line in rows:
        row = read_object(msgspec.json.decode(line))
        place = read_object(row.get("metadata"))
        if "of" not in place:
            whole.append(line)
            continue
        calls.setdefault(str(place.get("key")), {})[read_count(place.get("part"))] = row
    for key, parts in calls.items():
        failed = [row for row in parts.values() if not isinstance(row.get("response"), dict)]
        row = {**failed[0]} if failed else {"response": {"embeddings": _embeddings(parts)}}
        if failed or len(parts) == read_count(read_object(parts[min(parts)].get("metadata")).get("of")):
            whole.append(msgspec.json.encode({**row, "metadata": {"key": key}}))
    return whole


def _embeddings(parts: dict[int, dict[str, JSON]]) -> list[JSON]:
    return [read_object(parts[number]["response"]).get("embedding") for number in sorted(parts)]
