"""What runs in a fresh interpreter: one neighbour, set up before or after our hooks, and the hook contract beside it.

    python -m tests.neighbours.program NAME before|after PLACE

prints one JSON object: what was `wrong`, which bodies were to be `batched` and sent in `real_time`, and which of our
`own` calls the neighbour has seen.
"""

from __future__ import annotations

import faulthandler
import json
import socket
import sys

_SECONDS = 100
"""After which the program has hung."""


_connect = socket.socket.connect


def _loopback_only(self: socket.socket, address: object) -> None:
    if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise AssertionError(f"a neighbour tried to reach {address[0]}")
    _connect(self, address)  # type: ignore[arg-type]


def main(name: str, order: str, place_json: str) -> None:
    faulthandler.dump_traceback_later(_SECONDS, exit=True)
    socket.socket.connect = _loopback_only  # type: ignore[assignment,method-assign]
    from tests.neighbours.neighbours import NEIGHBOURS

    neighbour = NEIGHBOURS[name]()
    neighbour.order = order
    if order == "before":
        neighbour.set_up()
    from tests.hooks.compact import Place, clients, contract

    if order == "after":
        if neighbour.may_be_late:
            clients(sdks=neighbour.sdks)
        from batchling import install_hooks

        install_hooks()
        neighbour.set_up()
    place = Place(**json.loads(place_json))
    watched = neighbour.watch(place)
    with neighbour.around():
        wrong, asked = contract(place, neighbour.run, sdks=neighbour.sdks)
    more = neighbour.also(place)
    neighbour.tear_down()
    print(
        json.dumps(
            {
                "wrong": [*watched.wrong, *wrong, *more.wrong],
                "batched": [*watched.batched, *asked.batched, *more.batched],
                "real_time": [*watched.real_time, *asked.real_time, *more.real_time],
                "own": neighbour.own(),
            }
        ),
        flush=True,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
