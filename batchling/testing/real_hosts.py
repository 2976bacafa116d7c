"""`ProviderServer.at_real_hosts()`: the providers' own host names lead to the embedded server, over TLS.

During a block, the following is changed: name resolution and connecting (see `redirection`), the certificates that
clients trust, proxies, and what child processes do when they start.
"""

from __future__ import annotations

import os
import random
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from batchling.testing import redirection
from batchling.testing.hosts import HOSTS
from batchling.testing.redirection import Redirection

if TYPE_CHECKING:
    import trustme

TRUST_VARIABLES = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "AWS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
)
"""The variables from which programs learn which file contains the certificates that they trust."""

_one_block = threading.Lock()
"""Held while a block is open, since its changes affect the whole process."""

_SITECUSTOMIZE = '''\
"""Written by batchling.testing: this process reaches the providers' host names at the embedded server of a test."""
import importlib.machinery
import importlib.util
import os
import sys

from _batchling_redirection import Redirection

Redirection({address!r}, {port!r}, {hosts!r}).install()

_here = os.path.realpath(os.path.dirname(__file__))
_others = [path for path in sys.path if os.path.realpath(path or ".") != _here]
_next = importlib.machinery.PathFinder.find_spec("sitecustomize", _others)
if _next is not None and _next.loader is not None:
    _module = sys.modules["sitecustomize"] = importlib.util.module_from_spec(_next)
    _next.loader.exec_module(_module)
'''


def server_context() -> ssl.SSLContext:
    """The TLS context of a server that has all the host names. Raises `RuntimeError` when trustme is not installed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _authority()[1].configure_cert(context)
    return context


def fresh_address() -> str:
    """A loopback address that most likely nothing else uses."""
    return f"127.{random.randint(16, 254)}.{random.randint(0, 255)}.{random.randint(1, 254)}"


@contextmanager
def real_hosts(address: str, port: int) -> Iterator[None]:
    """Make the host names resolve to `address` and lead to `port` of 127.0.0.1, in this process and in child processes
    started inside the block. Raises `RuntimeError` inside another such block."""
    if not _one_block.acquire(blocking=False):
        raise RuntimeError(
            "at_real_hosts() is in use already: the host names of a process lead to one server at a time. "
            "Leave the other block first, or use this server by its `url`."
        )
    try:
        with TemporaryDirectory(prefix="batchling-real-hosts-") as folder, ExitStack() as undo:
            bundle = Path(folder, "ca-bundle.pem")
            bundle.write_bytes(_authority()[0].cert_pem.bytes() + b"\n" + _trusted_so_far())
            children = Path(folder, "children")
            _write_sitecustomize(children, address, port)
            undo.enter_context(_aiohttp_trusts())
            undo.enter_context(_environment(bundle, children))
            undo.enter_context(_urllib_begins_anew())
            redirected = Redirection(address, port, HOSTS)
            undo.callback(redirected.uninstall)
            redirected.install()
            yield
    finally:
        _one_block.release()


@lru_cache(maxsize=1)
def _authority() -> tuple[trustme.CA, trustme.LeafCert]:
    """The certificate authority of this process and the server's certificate. All blocks share them, so a client that
    an SDK keeps from one block to the next still trusts the server."""
    try:
        import trustme
    except ImportError as missing:
        raise RuntimeError(
            "at_real_hosts() makes a certificate with trustme, which is not installed: pip install 'batchling[testing]'"
        ) from missing
    authority = trustme.CA(organization_name="batchling.testing")
    return authority, authority.issue_cert(*{name for host in HOSTS for name in _as_certified(host)})


_REGIONS = ("us-east-1", "us-east-2", "us-west-2", "eu-west-1", "eu-central-1", "ap-northeast-1", "ap-southeast-2")
"""The AWS regions that the certificate covers."""


def _as_certified(host: str) -> list[str]:
    """The names of a host in a certificate, where a `*` stands for a whole label, and only for the first."""
    if host.startswith("*"):
        return ["*" + host[host.index(".") :]]
    return [host.replace("*", region) for region in _REGIONS] if "*" in host else [host]


def _trusted_so_far() -> bytes:
    """The certificates of every file that a variable names; if none does, those of certifi or the system."""
    named = dict.fromkeys(os.environ.get(name, "") for name in TRUST_VARIABLES)
    files = [Path(name) for name in named if name and Path(name).is_file()]
    if not any(os.environ.get(name) for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")):
        files += [Path(name) for name in (_certifi(), ssl.get_default_verify_paths().cafile) if name]
    return b"\n".join(file.read_bytes() for file in files)


def _certifi() -> str | None:
    try:
        where: Callable[[], str] = import_module("certifi").where
    except ImportError:
        return None
    return where()


@contextmanager
def _environment(bundle: Path, children: Path) -> Iterator[None]:
    changes = dict.fromkeys(TRUST_VARIABLES, str(bundle))
    paths = [str(children), *filter(None, [os.environ.get("PYTHONPATH")])]
    changes["PYTHONPATH"] = os.pathsep.join(paths)
    for name in ("NO_PROXY", "no_proxy"):
        changes[name] = ",".join([*filter(None, [os.environ.get(name)]), *_past_proxies()])
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _past_proxies() -> list[str]:
    """The host names in the format of NO_PROXY, where a name stands for all hosts below it."""
    return sorted({host.rpartition("*")[2].partition(".")[2] if "*" in host else host for host in HOSTS})


@contextmanager
def _aiohttp_trusts() -> Iterator[None]:
    """Give aiohttp the certificates, since it already read its own when it was imported."""
    module = sys.modules.get("aiohttp.connector")
    settings = vars(module) if module is not None else {}
    before = settings.get("_SSL_CONTEXT_VERIFIED")
    if before is None:
        yield
        return
    authority = _authority()[0].cert_pem.bytes().decode()
    ours = _client_context(authority, *map(os.environ.get, ("SSL_CERT_FILE", "SSL_CERT_DIR")))
    settings["_SSL_CONTEXT_VERIFIED"] = ours
    try:
        yield
    finally:
        if settings["_SSL_CONTEXT_VERIFIED"] is ours:
            settings["_SSL_CONTEXT_VERIFIED"] = before


@contextmanager
def _urllib_begins_anew() -> Iterator[None]:
    """Let `urlopen` read the environment again, as its first call does. The program's own opener stays in place."""
    module = sys.modules.get("urllib.request")
    settings = vars(module) if module is not None else {}
    before = settings.get("_opener")
    if not settings or (before is not None and set(map(type, before.handlers)) - _usual_handlers(settings)):
        yield
        return
    settings["_opener"] = None
    try:
        yield
    finally:
        settings["_opener"] = before


def _usual_handlers(settings: dict[str, Any]) -> set[type]:
    return set(map(type, settings["build_opener"]().handlers))


@lru_cache(maxsize=2)
def _client_context(authority: str, *environment: str | None) -> ssl.SSLContext:
    """A context that trusts what the environment trusts, and our authority. Made once for all blocks: reading a hundred
    certificates takes most of the time of entering a block."""
    context = ssl.create_default_context()
    context.load_verify_locations(cadata=authority)
    context.set_alpn_protocols(("http/1.1",))
    return context


def _write_sitecustomize(folder: Path, address: str, port: int) -> None:
    folder.mkdir()
    source = Path(redirection.__file__).read_text(encoding="utf-8")
    Path(folder, "_batchling_redirection.py").write_text(source, encoding="utf-8")
    text = _SITECUSTOMIZE.format(address=address, port=port, hosts=HOSTS)
    Path(folder, "sitecustomize.py").write_text(text, encoding="utf-8")
