"""The host names of the providers whose APIs the embedded server speaks, and where it mounts each.

Written down from the providers' documentation a second time, and not taken from `batchling.providers`: a wrong host
there is found because it differs from this one.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import lru_cache

from aiohttp import web

SIGNED_LINKS = "signed-links.test"
"""The host of links that carry their own right, as the storage of a provider has another host than its API."""

_MOUNTS: dict[str, tuple[str, ...]] = {
    "openai": ("api.openai.com", *(f"{region}.api.openai.com" for region in ("us", "eu", "ae", "au", "in", "jp"))),
    "anthropic": ("api.anthropic.com", "aws-external-anthropic.*.api.aws"),
    "gemini": ("generativelanguage.googleapis.com",),  # the OpenAI-compatible path too: they share their files
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
"""Every host name. One with a `*` stands for all that begin and end as it does."""


@lru_cache(maxsize=256)
def mount_of(host: str) -> str | None:
    """The path below which the API of a host (without a port) is mounted, "" for the root; None for other hosts."""
    host = host.lower()
    families = (place for name, place in _PLACES.items() if "*" in name and fnmatchcase(host, name))
    return _PLACES.get(host, next(families, None))


def inner_path(host: str, path: str) -> str:
    """Where the server mounts what a call to this host (with or without a port) asks for."""
    mount = mount_of(host.partition(":")[0])
    return path if mount is None else mount + path


def outer_url(request: web.Request, path: str, *, signed: bool = False) -> str:
    """The URL under which the client that made `request` reaches what is mounted at `path`; `signed` links are at
    another host than the API."""
    mount = mount_of(request.host.partition(":")[0])
    if mount is None:
        port = request.url.port
        host = f"localhost:{port}" if signed else request.host
        return f"{request.scheme}://{host}{path}"
    return f"https://{SIGNED_LINKS}{path}" if signed else f"https://{request.host}{path.removeprefix(mount)}"
