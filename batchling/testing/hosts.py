"""The host names of the providers whose APIs the embedded server speaks, and where it mounts each.

Copied separately from the providers' documentation, and not taken from `batchling.providers`: a wrong host there is
noticed because it differs from the one here.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import lru_cache

from aiohttp import web

SIGNED_LINKS = "signed-links.test"
"""The host of signed links, which need no credential. It differs from the API's, as with a provider's real storage."""

_MOUNTS: dict[str, tuple[str, ...]] = {
    "openai": ("api.openai.com", *(f"{region}.api.openai.com" for region in ("us", "eu", "ae", "au", "in", "jp"))),
    "anthropic": ("api.anthropic.com", "aws-external-anthropic.*.api.aws"),
    "gemini": ("generativelanguage.googleapis.com",),  # also for the OpenAI-compatible path: they share their files
    "vertex": ("aiplatform.googleapis.com", "*-aiplatform.googleapis.com"),
    "vertex/storage": ("storage.googleapis.com",),
    "azure": ("*.openai.azure.com", "*.cognitiveservices.azure.com", "*.services.ai.azure.com"),
    "mistral": ("api.mistral.ai",),
    "xai": ("api.x.ai",),
    "fireworks": ("api.fireworks.ai",),
    "groq": ("api.groq.com",),
    "together": ("api.together.ai", "api.together.xyz", "api-inference.together.ai"),
    "doubleword": ("api.doubleword.ai",),
    "deepinfra": ("api.deepinfra.com",),
    "parasail": ("api.parasail.io", "api.saas.parasail.io"),
    "novita": ("api.novita.ai",),
    "siliconflow": ("api.siliconflow.cn",),
    "dashscope": (
        "dashscope.aliyuncs.com",
        "dashscope-intl.aliyuncs.com",
        "*.cn-beijing.maas.aliyuncs.com",
        "*.ap-southeast-1.maas.aliyuncs.com",
    ),
    "zhipu": ("open.bigmodel.cn",),
    "kimi": ("api.moonshot.ai", "api.moonshot.cn"),
    "perplexity": ("api.perplexity.ai",),
    "cerebras": ("api.cerebras.ai",),
    "voyage": ("api.voyageai.com",),
    "openrouter": ("openrouter.ai", "www.openrouter.ai", "eu.openrouter.ai", "us.openrouter.ai"),
    "sference": ("api.sference.com",),
    "": (SIGNED_LINKS,),
}

_PLACES = {host: f"/{mount}".rstrip("/") for mount, hosts in _MOUNTS.items() for host in hosts}

HOSTS: tuple[str, ...] = tuple(_PLACES)
"""Every host name. One with a `*` stands for all names with the same beginning and end."""


@lru_cache(maxsize=256)
def mount_of(host: str) -> str | None:
    """The path below which the API of a host (without a port) is mounted, "" for the root; None for unknown hosts."""
    host = host.lower()
    families = (place for name, place in _PLACES.items() if "*" in name and fnmatchcase(host, name))
    return _PLACES.get(host, next(families, None))


def inner_path(host: str, path: str) -> str:
    """The path on the server for a call to `path` of this host (with or without a port)."""
    mount = mount_of(host.partition(":")[0])
    return path if mount is None else mount + path


def outer_url(request: web.Request, path: str, *, signed: bool = False) -> str:
    """The URL at which the client that made `request` reaches what is mounted at `path`; `signed` links have a
    different host than the API."""
    mount = mount_of(request.host.partition(":")[0])
    if mount is None:
        port = request.url.port
        host = f"localhost:{port}" if signed else request.host
        return f"{request.scheme}://{host}{path}"
    return f"https://{SIGNED_LINKS}{path}" if signed else f"https://{request.host}{path.removeprefix(mount)}"
