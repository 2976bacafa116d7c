"""The way to a provider as the environment describes it, for calls that belong to no known client of the program.

It applies to jobs that another process collects, and to what a client leaves open.
"""

from __future__ import annotations

import base64
import fnmatch  # noqa: F401  # urllib imports it when it first reads the settings of macOS or Windows
import ipaddress
import logging
import os
import ssl
import sys
from contextlib import suppress
from functools import lru_cache
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from batchling.core.way import Proxy, Way

if sys.platform == "win32":
    import winreg  # noqa: F401  # as fnmatch

try:
    import certifi
except ImportError:
    _certifi = None
else:
    _certifi = certifi.where()  # called here, since it imports what it needs to find its file

try:
    import truststore
except ImportError:
    truststore = None  # type: ignore[assignment]

_log = logging.getLogger(__name__)

_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/cert.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Where Linux distributions and BSDs keep the system's bundle. A Python that was built elsewhere does not know this."""


def way_to(url: str) -> Way:
    """How to reach this URL according to the environment at this moment: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY
    (which may contain networks, 10.0.0.0/8) in upper or lower case, or the settings of macOS and Windows; and, for
    https, `trust`.

    Raises `ValueError` if the proxy's address cannot be read. Any thread.
    """
    parts = urlsplit(url)
    tls = trust() if parts.scheme == "https" else None
    proxies = getproxies()
    address = proxies.get(parts.scheme) or proxies.get("all")
    if not address or _is_direct(parts.hostname or "", parts.port, proxies.get("no", "")):
        return Way(tls)
    return Way(tls, _proxy(address))


def _is_direct(host: str, port: int | None, exceptions: str) -> bool:
    if proxy_bypass(host if port is None else f"{host}:{port}"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    for each in exceptions.split(","):
        with suppress(ValueError):
            if address in ipaddress.ip_network(each.strip().strip("[]"), strict=False):
                return True
    return False


def _proxy(address: str) -> Proxy:
    parts = urlsplit(address if "://" in address else f"http://{address}")
    if not parts.hostname:
        raise ValueError("a proxy without a host")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    url = f"{parts.scheme}://{host}" if parts.port is None else f"{parts.scheme}://{host}:{parts.port}"
    if not parts.username and not parts.password:
        return Proxy(url)
    user, password = (unquote(part or "").encode() for part in (parts.username, parts.password))
    if parts.scheme.startswith("socks"):
        return Proxy(url, auth=(user, password))
    return Proxy(url, ((b"proxy-authorization", b"Basic " + base64.b64encode(user + b":" + password)),))


def trust() -> ssl.SSLContext:
    """Whom we trust if no client of the program decides it: the operating system's store, certifi's bundle, and what
    SSL_CERT_FILE, SSL_CERT_DIR, REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE name, all of them together.

    The libraries differ: httpx2 (openai 3) and aiohttp use the system's store or SSL_CERT_*, httpx 0.28 certifi or
    SSL_CERT_*, requests certifi or the other two variables. We do not know here which of them a program used, and must
    be able to reach what it reached; a narrower choice would leave paid results uncollected. A program that trusts
    fewer authorities configures its client that way, and this applies to its own calls and to ours on their behalf.
    Certificates are checked as httpx2 does it, without the stricter mode of Python 3.13, which rejects the CAs of many
    companies.

    There is one context for each setting of the variables, created on first use. Any thread.
    """
    return _trust(*map(os.environ.get, _VARIABLES))


@lru_cache(maxsize=4)
def _trust(*named: str | None) -> ssl.SSLContext:
    context = _system()
    for name, value in zip(_VARIABLES, named, strict=True):
        for path in (value or "").split(os.pathsep) if name == "SSL_CERT_DIR" else (value,):
            if path:
                _add(context, path, name)
    return context


def _system() -> ssl.SSLContext:
    if sys.platform in ("darwin", "win32") and truststore is not None:
        return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if sys.platform == "win32":
        context.load_default_certs()
    # The paths are given explicitly: `load_default_certs` would read SSL_CERT_* instead of the system's store.
    paths = ssl.get_default_verify_paths()
    known = (paths.openssl_cafile, paths.openssl_capath, *_BUNDLES, _certifi)
    for path in dict.fromkeys(os.path.realpath(path) for path in known if path and os.path.exists(path)):
        _add(context, path, "the system")
    return context


def _add(context: ssl.SSLContext, path: str, source: str) -> None:
    try:
        if os.path.isdir(path):
            context.load_verify_locations(capath=path)
        else:
            context.load_verify_locations(cafile=path)
    except OSError as fault:  # `ssl.SSLError` is one
        why = fault.strerror or type(fault).__name__
        _log.warning(
            "batchling: %s names %s, which cannot be read (%s): its certificates are not used", source, path, why
        )
