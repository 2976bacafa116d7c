from __future__ import annotations

from batchling.core.model import Call, Request, Response, Site, Target

SECRET = "sk-secret"


def test_no_repr_shows_a_secret_or_a_prompt() -> None:
    request = Request("POST", f"https://host/v1/x?key={SECRET}", (("authorization", SECRET),), b"my prompt")
    site = Site(Target("p", "https://host/v1", "e", "m", "0123456789abcdef"), (("authorization", SECRET),))
    shown = " ".join(map(repr, (request, Response(200, (), b"my prompt"), Call(request, (b"my prompt",)), site)))

    assert SECRET not in shown
    assert "prompt" not in shown
    assert "POST host/v1/x 9 bytes" in shown
