"""Voyage AI: OpenAI's file dialect, where a row contains only the inputs and all other parameters belong to the job.

Facts: Voyage's batch documentation (public preview); its SDK has no batch methods.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from batchling.core.model import JSON, Bypass, Fault, Item, Pieces, Request, Response, Row, Site, Target, header
from batchling.providers.asking import JSON_TYPE, account_of, edited_rows
from batchling.providers.base import Facts, Limits, Route
from batchling.providers.dialect import unbatchable
from batchling.providers.files import FileDialect
from batchling.providers.reading import read_fault
from batchling.providers.rows import read_row
from batchling.providers.samples import voyage as samples

_INPUTS = {
    "/v1/embeddings": ("input",),
    "/v1/contextualizedembeddings": ("inputs",),
    "/v1/rerank": ("query", "documents"),
}
"""The keys of a body that go into its row."""

_canonical = msgspec.json.Encoder(order="sorted")


class Voyage(FileDialect):
    """OpenAI's file dialect, with all parameters shared by the rows of a job."""

    def target(self, route: Route, request: Request, body: dict[str, JSON]) -> Target | Bypass:
        if not route.endpoint:
            return Bypass("endpoint without a batch form")
        if reason := unbatchable(body):
            return Bypass(reason)
        shared = {name: value for name, value in body.items() if name not in _INPUTS[route.endpoint]}
        options = (("request_params", _canonical.encode(shared).decode()),)
        account = account_of(self.identify(route, request))
        return Target(self.name, route.base_url, route.endpoint, str(body["model"]), account, options)

    def rows(self, at: Site, items: Sequence[Item]) -> Pieces:
        return edited_rows(items, lambda name: name in _INPUTS[at.target.endpoint])

    def ordered(self, at: Site, tag: str) -> dict[str, JSON]:
        shared = msgspec.json.decode(header(at.target.options, "request_params") or "{}")
        return {"completion_window": self.window, "metadata": {self.tag: tag}, "request_params": shared}

    def row(self, line: bytes) -> Row:
        row = read_row(line)
        if row.response is None or row.response.ok:
            return row
        return Row(row.key, _detailed(row.response.status, read_fault(row.response).message))

    def failure(self, status: int, fault: Fault) -> Response:
        return _detailed(status, fault.message)

    def rehearse(self, target: Target, body: dict[str, JSON]) -> Response:
        return Response(200, (JSON_TYPE,), msgspec.json.encode(samples.answer(target.endpoint, body)))

    def weight(self, body: dict[str, JSON]) -> int:
        asked = body.get("input") or body.get("inputs") or body.get("documents")
        return len(asked) if isinstance(asked, list) else 1


def _detailed(status: int, message: str) -> Response:
    """An error as Voyage's real-time API returns it, which is the only form that its SDK reads."""
    return Response(status, (JSON_TYPE,), msgspec.json.encode({"detail": message}))


VOYAGE = Voyage(
    name="voyage",
    roots=("https://api.voyageai.com/v1",),
    endpoints=("/contextualizedembeddings", "/embeddings", "/rerank"),
    limits=Limits(rows=100_000, bytes=999_000_000, inputs=100_000, in_flight=100, price=0.67, window=43_200.0),
    facts=Facts(
        "Voyage AI",
        "12 h",
        "metadata",
        "30 days",
        ("VOYAGE_API_KEY",),
        quirks=("public preview", "only requests with equal parameters share a batch"),
        prices="voyageai",
    ),
    window="12h",
)
