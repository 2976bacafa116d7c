"""Redirect this process's connections to the providers' host names to a server on loopback.

The names get an address of 127.0.0.0/8 wherever Python resolves them, and connections to port 443 of that address
go to the server's port. Imports only the standard library: child processes run a copy of this file when they start.
"""

from __future__ import annotations

import importlib.abc
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_HTTPS = 443


class Redirection:
    """Redirect the host names `hosts` (one with a `*` stands for all names with the same beginning and end), which get
    the address `address`, to `port` of 127.0.0.1. Active between `install` and `uninstall`, for all threads of the
    process."""

    def __init__(self, address: str, port: int, hosts: Iterable[str]) -> None:
        self._address = address
        self._port = port
        self._hosts = frozenset(hosts)
        self._families = tuple(host for host in self._hosts if "*" in host)
        self._undo: list[tuple[Any, str, object, bool, object]] = []
        self._finder: _AfterImport | None = None
        self._active = False

    def install(self) -> None:
        """Start redirecting."""
        self._active = True
        self._patch_resolving()
        self._patch_connecting()
        self._finder = _AfterImport({"aiohttp.resolver": self._patch_aiohttp, "uvloop": self._patch_uvloop})
        self._finder.install()

    def uninstall(self) -> None:
        """Restore the original functions. A patch that something else has wrapped in the meantime stays, without
        effect."""
        self._active = False
        if self._finder is not None and self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)
        for owner, name, ours, was_own, before in reversed(self._undo):
            if vars(owner).get(name) is not ours:
                continue
            if was_own:
                setattr(owner, name, before)
            else:
                delattr(owner, name)
        self._undo.clear()

    def covers(self, host: object) -> bool:
        """Whether this host name is redirected."""
        if isinstance(host, bytes | bytearray):
            host = bytes(host).decode("ascii", "replace")
        if not self._active or not isinstance(host, str):
            return False
        host = host.lower().rstrip(".")
        return host in self._hosts or any(fnmatchcase(host, family) for family in self._families)

    def target(self, address: Any) -> Any:
        """Where a connection to this socket address really goes."""
        if not isinstance(address, tuple) or len(address) < 2:
            return address
        host, port = address[:2]
        if self.covers(host):
            host = self._address
        if not self._active or host != self._address:
            return address
        return ("127.0.0.1", self._port) if port == _HTTPS else (host, port)

    def _patch(self, owner: Any, name: str, replacement: object) -> None:
        self._undo.append((owner, name, replacement, name in vars(owner), vars(owner).get(name)))
        setattr(owner, name, replacement)

    def _patch_resolving(self) -> None:
        getaddrinfo, by_name, by_name_ex = socket.getaddrinfo, socket.gethostbyname, socket.gethostbyname_ex

        def get_address_info(
            host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
        ) -> list[Any]:
            if not flags & socket.AI_NUMERICHOST and self.covers(host):
                host = self._address
            return getaddrinfo(host, port, family, type, proto, flags)

        def get_host_by_name(hostname: str) -> str:
            return self._address if self.covers(hostname) else by_name(hostname)

        def get_host_by_name_ex(hostname: str) -> tuple[str, list[str], list[str]]:
            return (hostname, [], [self._address]) if self.covers(hostname) else by_name_ex(hostname)

        self._patch(socket, "getaddrinfo", get_address_info)
        self._patch(socket, "gethostbyname", get_host_by_name)
        self._patch(socket, "gethostbyname_ex", get_host_by_name_ex)

    def _patch_connecting(self) -> None:
        connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

        def redirected(sock: socket.socket, address: Any) -> None:
            connect(sock, self.target(address))

        def redirected_ex(sock: socket.socket, address: Any) -> int:
            return connect_ex(sock, self.target(address))

        self._patch(socket.socket, "connect", redirected)
        self._patch(socket.socket, "connect_ex", redirected_ex)

    def _patch_aiohttp(self, module: Any) -> None:
        """Patch aiohttp's resolver: aiodns, which aiohttp prefers where it is installed, resolves in C."""
        resolve = module.AsyncResolver.resolve

        async def resolved(
            resolver: Any, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> Any:
            if not self.covers(host):
                return await resolve(resolver, host, port, family)
            place = {"hostname": host, "host": self._address, "port": port, "family": socket.AF_INET}
            return [{**place, "proto": 0, "flags": socket.AI_NUMERICHOST | socket.AI_NUMERICSERV}]

        self._patch(module.AsyncResolver, "resolve", resolved)

    def _patch_uvloop(self, module: Any) -> None:
        """Patch uvloop, whose loops resolve and connect in C."""
        getaddrinfo, create_connection = module.Loop.getaddrinfo, module.Loop.create_connection

        async def get_address_info(loop: Any, host: Any, port: Any, **options: Any) -> Any:
            if not options.get("flags", 0) & socket.AI_NUMERICHOST and self.covers(host):
                host = self._address
            return await getaddrinfo(loop, host, port, **options)

        async def connect(loop: Any, protocol: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
            if self.covers(host) and options.get("ssl") and options.get("server_hostname") is None:
                options["server_hostname"] = host
            host, port = self.target((host, port))
            return await create_connection(loop, protocol, host, port, **options)

        self._patch(module.Loop, "getaddrinfo", get_address_info)
        self._patch(module.Loop, "create_connection", connect)


class _AfterImport(importlib.abc.MetaPathFinder):
    """Call an action with each of these modules: at once if already imported, otherwise after the import."""

    def __init__(self, actions: dict[str, Callable[[Any], None]]) -> None:
        self._actions = actions

    def install(self) -> None:
        """Act on the modules already imported, and wait for the rest."""
        for name in [name for name in self._actions if name in sys.modules]:
            self._actions.pop(name)(sys.modules[name])
        sys.meta_path.insert(0, self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec from the other finders, with a loader that acts after it has run the module."""
        if fullname not in self._actions:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        specs = (finder.find_spec(fullname, path, target) for finder in others if hasattr(finder, "find_spec"))
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and spec.loader is not None:
            run: Callable[[ModuleType], None] = spec.loader.exec_module

            def run_and_act(module: ModuleType) -> None:
                run(module)
                if (action := self._actions.pop(fullname, None)) is not None:
                    action(module)

            spec.loader.exec_module = run_and_act  # type: ignore[method-assign]
        return spec
