"""What runs in a fresh interpreter, with the versions of one row in front of the path: the hook contract and the bodies.

    python -m tests.ranges.program PLACE

prints one JSON object: the `versions` in use, what was `wrong`, and what was to be billed.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import sys
from importlib.metadata import version

from batchling import install_hooks
from tests.hooks.bodies import body_of, styles, suits
from tests.hooks.compact import Place, contract
from tests.hooks.world import RecordingGate, opened

LIBRARIES = ("httpx", "httpx2", "aiohttp", "requests", "urllib3", "wrapt")
SIZES = (0, 1, 128 * 1024 + 1)
LARGE = 20_000_000
STYLES_OF_LARGE = ("content", "aiter_bytes(None)", "read", "iter_any", "iter_content(None)", "raw.stream(1000)", "data")
URL = "https://api.example/v1/answer"


def bodies() -> list[str]:
    """What was wrong with bodies of each size in each style."""
    wrong = []
    for (library, name), style in styles().items():
        for size in (*SIZES, *([LARGE] if name in STYLES_OF_LARGE else [])):
            if not suits(name, size):
                continue
            body = body_of(size)
            try:
                with opened(RecordingGate(body)):
                    found = style(URL)
            except Exception as fault:
                wrong.append(f"{library}, {name}, {size} bytes: {fault!r}"[:300])
            else:
                if found != body:
                    wrong.append(f"{library}, {name}, {size} bytes: read {len(found)}, {found[:60]!r}")
    return wrong


def main(place: str) -> None:
    faulthandler.dump_traceback_later(100, exit=True)
    warnings: list[str] = []
    keep = logging.Handler(logging.WARNING)
    keep.emit = lambda record: warnings.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("batchling.hooks").addHandler(keep)
    wrong, asked = contract(Place(**json.loads(place)), sdks=False)
    install_hooks()
    print(
        json.dumps(
            {
                "versions": {name: version(name) for name in LIBRARIES},
                "wrong": [*wrong, *bodies(), *warnings],
                "batched": asked.batched,
                "real_time": asked.real_time,
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
