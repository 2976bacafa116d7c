"""An instance that satisfies a JSON schema, chosen by a seed."""

from __future__ import annotations

import math
import re
from hashlib import sha256
from typing import Any

_DEPTH = 12
"""Nesting depth beyond which optional parts of a recursive schema are left out."""

_WORDS = (
    "amber",
    "birch",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "harbor",
    "island",
    "juniper",
    "kelp",
    "lagoon",
)

_FORMATS = {
    "date": "2026-01-15",
    "date-time": "2026-01-15T09:30:00Z",
    "time": "09:30:00Z",
    "duration": "P1D",
    "email": "name@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def instance(schema: Any, seed: str = "") -> Any:
    """A value that the schema accepts, as long as it uses only these keywords: type, enum, const, properties, required,
    items, prefixItems, minItems, uniqueItems, bounds of numbers and strings, multipleOf, format, simple patterns,
    $ref within the document, allOf, anyOf, oneOf. Recursion always ends."""
    return _Maker(schema, seed).make(schema, "", 0)


class _Maker:
    def __init__(self, root: Any, seed: str) -> None:
        self._root = root
        self._seed = seed

    def _pick(self, path: str, count: int) -> int:
        return int.from_bytes(sha256(f"{self._seed}\0{path}".encode()).digest()[:4], "big") % count

    def make(self, schema: Any, path: str, depth: int) -> Any:
        if not isinstance(schema, dict):
            return {}
        schema = self._resolve(schema)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return schema["enum"][self._pick(path, len(schema["enum"]))]
        for word in ("anyOf", "oneOf"):
            if schema.get(word):
                return self._choose(schema, word, path, depth)
        kind = schema.get("type") or self._implied(schema)
        if isinstance(kind, list):
            kinds = [one for one in kind if one != "null"] or ["null"]
            kind = kinds[self._pick(path, len(kinds))]
        match kind:
            case "object":
                return self._object(schema, path, depth)
            case "array":
                return self._array(schema, path, depth)
            case "string":
                return self._string(schema, path)
            case "integer" | "number":
                return self._number(schema, path, whole=kind == "integer")
            case "boolean":
                return bool(self._pick(path, 2))
            case _:
                return None

    def _resolve(self, schema: Any) -> Any:
        for _ in range(100):
            if "$ref" in schema:
                target: Any = self._root
                for part in str(schema["$ref"]).lstrip("#").strip("/").split("/"):
                    if part:
                        target = target[part.replace("~1", "/").replace("~0", "~")]
                schema = {**target, **{name: value for name, value in schema.items() if name != "$ref"}}
            elif schema.get("allOf"):
                parts = [self._resolve(part) for part in schema["allOf"]]
                rest = {name: value for name, value in schema.items() if name != "allOf"}
                schema = _merged([*parts, rest])
            else:
                break
        return schema

    def _choose(self, schema: Any, word: str, path: str, depth: int) -> Any:
        """The first alternative whose recursion ends; deep down, null where it is allowed."""
        rest = {name: value for name, value in schema.items() if name != word}
        options = [self._resolve(option) if isinstance(option, dict) else {} for option in schema[word]]
        nulls = [option for option in options if option.get("type") == "null"]
        if depth > _DEPTH and nulls:
            return None
        simple = [option for option in options if option.get("type") not in ("null", "object", "array")]
        chosen = (simple if depth > _DEPTH and simple else [o for o in options if o.get("type") != "null"]) or options
        return self.make(_merged([rest, chosen[0]]), path, depth + 1)

    @staticmethod
    def _implied(schema: Any) -> str:
        if "properties" in schema or "required" in schema or "additionalProperties" in schema:
            return "object"
        if "items" in schema or "prefixItems" in schema:
            return "array"
        if "minimum" in schema or "maximum" in schema or "multipleOf" in schema:
            return "number"
        return "string"

    def _object(self, schema: Any, path: str, depth: int) -> Any:
        properties = schema.get("properties") or {}
        required = schema.get("required") or []
        names = list(properties) if depth <= _DEPTH // 2 else [name for name in properties if name in required]
        made = {name: self.make(properties[name], f"{path}/{name}", depth + 1) for name in names}
        extra = schema.get("additionalProperties")
        for name in required:
            if name not in made:
                made[name] = self.make(extra if isinstance(extra, dict) else {}, f"{path}/{name}", depth + 1)
        for number in range(len(made), schema.get("minProperties", 0)):
            made[f"key{number}"] = self.make(extra if isinstance(extra, dict) else {}, f"{path}/{number}", depth + 1)
        return made

    def _array(self, schema: Any, path: str, depth: int) -> Any:
        made = [self.make(part, f"{path}/{n}", depth + 1) for n, part in enumerate(schema.get("prefixItems") or [])]
        least = schema.get("minItems", 0)
        most = schema.get("maxItems", max(least, len(made), 1))
        wanted = max(least, min(2, most) if depth <= _DEPTH // 2 else 0)
        items = schema.get("items", {})
        if items is False:
            return made
        tries = 0
        while len(made) < wanted and tries < 50 * (wanted + 1):
            item = self.make(items, f"{path}/{len(made)}.{tries}", depth + 1)
            tries += 1
            if not schema.get("uniqueItems") or item not in made:
                made.append(item)
            elif tries > 20 and len(made) >= least:
                break
        return made

    def _string(self, schema: Any, path: str) -> str:
        if schema.get("format") in _FORMATS:
            return _FORMATS[schema["format"]]
        if pattern := schema.get("pattern"):
            return _matching(str(pattern))
        text = f"{_WORDS[self._pick(path, len(_WORDS))]} {_WORDS[self._pick(path + '+', len(_WORDS))]}"
        least, most = schema.get("minLength", 0), schema.get("maxLength")
        while len(text) < least:
            text += " " + _WORDS[self._pick(f"{path}{len(text)}", len(_WORDS))]
        return text[:most] if most is not None else text

    def _number(self, schema: Any, path: str, *, whole: bool) -> Any:
        step = schema.get("multipleOf") or (1 if whole else 0.5)
        low, high = schema.get("minimum"), schema.get("maximum")
        over, under = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
        if over is not None and (low is None or over >= low):
            low = (
                over + step
                if whole or schema.get("multipleOf")
                else _between(over, high if high is not None else under)
            )
        if under is not None and (high is None or under <= high):
            high = (
                under - step
                if whole or schema.get("multipleOf")
                else _between(low if low is not None else under - 2, under)
            )
        if low is None:
            low = 0 if high is None or high >= 0 else high - 10 * step
        first = math.ceil(low / step) * step
        span = 10 if high is None else max(0, min(10, math.floor((high - first) / step)))
        value = first + self._pick(path, span + 1) * step
        if high is not None and value > high:
            value = low
        return int(value) if whole else value


def _between(low: float, high: float | None) -> float:
    return (low + high) / 2 if high is not None else low + 1


def _merged(parts: list[Any]) -> Any:
    """One schema that combines all parts, where they do not contradict each other."""
    merged: dict[str, Any] = {}
    for part in parts:
        for name, value in part.items():
            if name == "properties":
                merged[name] = {**merged.get(name, {}), **value}
            elif name == "required":
                merged[name] = [*merged.get(name, []), *value]
            else:
                merged[name] = value
    return merged


def _matching(pattern: str) -> str:
    """A string for a simple pattern, a sequence of literals, classes and counts; for any other, the pattern's words."""
    made = ""
    for literal, group, least in re.findall(r"(\\?[^\[\]{}()^$|+*?])?(\[[^\]]+\])?(?:\{(\d+)[^}]*\})?", pattern):
        one = _one_of(group) if group else {"\\d": "1", "\\w": "a", "\\s": " ", ".": "a"}.get(literal, literal[-1:])
        made += one * int(least or 1)
    return made if re.search(pattern, made) else _grown(pattern, made)


def _one_of(group: str) -> str:
    inside = group[1:-1]
    for candidate in "a1A0-_ ./":
        if re.fullmatch(group, candidate):
            return candidate
    return inside[-1]


def _grown(pattern: str, made: str) -> str:
    for candidate in ("", "a", "A", "1", "abc", "ABC", "123", "A1", "a-b", "a_b", "2026-01-15", "AAA-111", "a@b.co"):
        if re.search(pattern, candidate):
            return candidate
    return made
