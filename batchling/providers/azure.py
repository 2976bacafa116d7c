"""Azure OpenAI: OpenAI's file dialect, with separate deployments for batches.

Facts: Azure's batch guide and REST reference, and objects that the vendor printed. A real-time deployment has no batch
form: the user has to name the batch deployment that replaces it. UNSURE: batches at hosts other than openai.azure.com,
and embeddings in a batch; both go real time. Uploads set no expiry, because its spelling differs between API versions;
instead, input files are deleted (`DELETE /openai/v1/files/{id}` of the REST reference), since a resource holds only 500
of them.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from batchling.core.model import JSON, Bypass, Call, Flow, Headers, Item, Pieces, Request, Site, Target, header
from batchling.core.neutral import Neutral
from batchling.providers.asking import account_of, chosen, request, segment, values_of
from batchling.providers.base import Facts, Garbled, Limits, Route
from batchling.providers.dialect import generates_nothing, unbatchable
from batchling.providers.files import FileDialect
from batchling.providers.headers import lasting
from batchling.providers.neutral import OPENAI_DIALECT, OPENAI_LABELS
from batchling.providers.reading import read_id, read_json, read_object, read_text

_LEGACY = re.compile(r"(?P<root>.+/openai)/deployments/(?P<deployment>[^/]+)(?P<path>/.+)")
_OTHER = re.compile(r"(?P<root>.+/openai(/v1)?)(?P<path>/.+)")
"""All other URLs; before v1, the URL of responses contained no deployment."""

_BATCHING = ".openai.azure.com"
_LOOKS = 300
"""How many times the status of a new file is checked before giving up on its processing."""


@dataclass(frozen=True)
class Azure(FileDialect):
    """Azure OpenAI, both URL forms. `deployments` maps the names of real-time deployments to the names of batch
    deployments (Global Batch or Data Zone Batch)."""

    name: str = "azure"
    roots: tuple[str, ...] = tuple(
        f"https://*.{host}/openai{version}"
        for host in ("openai.azure.com", "cognitiveservices.azure.com", "services.ai.azure.com")
        for version in ("/v1", "")
    )
    # The v1 API lists embeddings and others, but its guide rules them out: they go real time.
    endpoints: tuple[str, ...] = ("/chat/completions", "/responses")
    # 100,000 or 50,000 rows: two pages disagree. Jobs do not expire.
    limits: Limits = field(
        default_factory=lambda: Limits(rows=50_000, bytes=199_000_000, cached="unknown", window=7 * 86_400.0, poll=60.0)
    )
    facts: Facts = field(
        default_factory=lambda: Facts(
            "Azure OpenAI",
            "24 h, continues after that",
            "metadata",
            "14 to 30 days",
            ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN"),
            quirks=(
                "needs a batch deployment for each real-time one",
                "Entra tokens are renewed by azure-identity",
                "a resource holds 500 input files: they are deleted once the results are saved",
                "only at openai.azure.com: calls to a resource's other hosts go real time",
            ),
            prices="azure",
            separates=("api-key", "authorization"),
            telemetry="azure.ai.openai",
            key_headers=(("api-key",), ("authorization",)),
            token_variable="AZURE_OPENAI_AD_TOKEN",  # noqa: S106  # its name
            cloud="microsoft",
            # Identifies the end user of a call for Defender's alerts (REST reference, `UserSecurityContext`).
            neutral=Neutral((*OPENAI_LABELS, "user_security_context"), OPENAI_DIALECT.ids),
        )
    )
    deletes: bool = True
    deployments: Mapping[str, str] = field(default_factory=dict)
    setting_variable: ClassVar[str] = "BATCHLING_AZURE_DEPLOYMENTS"

    @property
    def lacks(self) -> str:
        return "" if self.deployments else f"batch deployments, in {self.setting_variable} or Azure(deployments=...)"

    def with_setting(self, value: str) -> Azure:
        pairs = [entry.partition("=") for entry in value.replace(",", " ").split()]
        if any(not name or not batch for name, _, batch in pairs):
            raise ValueError("must look like gpt-4o=gpt-4o-batch,gpt-5=gpt-5-batch")
        return replace(self, deployments={name: batch for name, _, batch in pairs})

    def example(self, target: Target) -> tuple[Azure, str]:
        return replace(self, deployments={target.model: target.model}), target.base_url + target.endpoint

    def route(self, method: str, url: str, *, official: bool) -> Route | None:
        head, _, query = url.partition("?")
        if method != "POST" or "/openai/" not in head:
            return None
        if found := _LEGACY.fullmatch(head):
            endpoint = "/v1" + found["path"] if found["path"] in self.endpoints else ""
            return Route(found["root"], endpoint, f"{query}&deployment={found['deployment']}", official)
        if (found := _OTHER.fullmatch(head)) is None or generates_nothing(found["path"]):
            return None
        endpoint = "/v1" + found["path"] if found["path"] in self.endpoints else ""
        return Route(found["root"], endpoint, query, official)

    def target(self, route: Route, request: Request, body: dict[str, JSON]) -> Target | Bypass:
        if not route.endpoint:
            return Bypass("endpoint without a batch form")
        host = urlsplit(route.base_url).netloc
        if route.official and not host.endswith(_BATCHING):
            return Bypass(f"host without a known batch API: use the resource's name below {_BATCHING[1:]}")
        asked = dict(parse_qsl(route.query))
        if set(asked) - {"api-version", "deployment"}:
            return Bypass("query parameters")
        named = unquote(asked.get("deployment", "")) or body.get("model")
        if reason := unbatchable({**body, "model": named}):
            return Bypass(reason)
        if "data_sources" in body:
            return Bypass("parameter data_sources")
        deployment = self.deployments.get(str(named))
        if deployment is None:
            return Bypass(
                f"no batch deployment for {named!r:.60}: batchify(providers=[Azure(deployments={{...}})]) or "
                "BATCHLING_AZURE_DEPLOYMENTS"
            )
        version = asked.get("api-version", "")
        options = (("api-version", version),) if version else ()
        account = account_of((*self._known(route, request), ("host", host)))
        return Target(self.name, route.base_url, route.endpoint, deployment, account, options)

    def _known(self, route: Route, request: Request) -> Headers:
        """The lasting part of the identity: a key itself; an Entra token changes every hour, but names its holder."""
        known: Headers = ()
        for name, value in self.identify(route, request):
            if name != "authorization":
                known += ((name, value),)
            elif principal := _principal(value):
                known += principal
            elif not route.official:  # a gateway's own key
                known += ((name, value),)
        return known

    def identify(self, route: Route, request: Request) -> Headers:
        if route.official:
            return chosen(request.headers, ("api-key", "authorization"))
        return lasting(request.headers)

    def path(self, at: Site, path: str) -> str:
        version = header(at.target.options, "api-version")
        return path if version is None else f"{path}{'&' if '?' in path else '?'}api-version={segment(version)}"

    def rows(self, at: Site, items: Sequence[Item]) -> Pieces:
        def make() -> Iterator[bytes]:
            for item in items:
                body = {**values_of(item.request.body), "model": at.target.model}
                row = {"custom_id": item.key, "method": "POST", "url": at.target.endpoint, "body": body}
                yield msgspec.json.encode(row) + b"\n"

        return Pieces(make)

    def upload(self, at: Site, items: Sequence[Item], tag: str) -> Flow[str]:
        file = read_json((yield self.form(at, self.rows(at, items), tag)))
        for _ in range(_LOOKS):
            if file.get("status") not in ("pending", "uploaded"):
                return read_id(file)
            look = request("GET", at, self.path(at, f"/files/{segment(read_id(file))}"))
            file = read_json((yield Call(look, pause=2.0)))
        raise Garbled("a file whose processing never ends")


def _principal(token: str) -> Headers:
    """Tenant and object of a token; empty when it is not a JSON web token."""
    try:
        claims = read_object(msgspec.json.decode(urlsafe_b64decode(token.split(".")[1] + "==")))
    except (IndexError, ValueError, msgspec.MsgspecError, RecursionError):
        return ()
    return tuple((name, value) for name in ("tid", "oid") if (value := read_text(claims.get(name))))


AZURE = Azure()
