from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.text import Text

from batchling.core import events
from batchling.core.cost import Cost
from batchling.core.model import Target
from batchling.display.drawing import ASCII, UNICODE, Signs, draw
from batchling.display.progress import Progress, view
from tests.display.events_played import answered, play
from tests.display.targets import CHAT, CLAUDE


def drawn(progress: Progress, width: int, height: int = 30, now: float = 140.0, signs: Signs = UNICODE) -> list[str]:
    return [line.plain for line in draw(view([progress], now), width, height, signs)]


def busy() -> Progress:
    return play(
        *[events.Queued(CHAT)] * 1_200,
        *[events.Queued(CLAUDE)] * 204,
        2.0,
        events.Submitted(CHAT, "a", "j", 600),
        events.Submitted(CHAT, "b", "j", 600),
        events.Submitted(CLAUDE, "c", "j", 204),
        10.0,
        events.Polled("a", "", 0, 600, 86_400.0),
        events.Polled("b", "", 600, 600, 86_400.0),
        events.Ended("b", 596, 4, Cost(596, 0, 300_000, 0, 0, 20_000, 0.2, 0.1)),
        *answered(596),
        *answered(4, ok=False),
        events.Settled("b"),
        130.0,
        events.Polled("a", "", 300, 600, 86_400.0),
    )


def test_calls_that_wait_for_room() -> None:
    progress = play(events.Queued(CHAT), events.Throttled(1_200, 1_200, 1), 10.0)
    assert drawn(progress, 80)[0] == "batchling  0 of 1 answered · 1,200 wait for room · 2 min 20 s"
    progress.add(events.Throttled(0, 0, 1), 20.0)
    assert "room" not in drawn(progress, 80)[0]


def test_eighty_columns() -> None:
    assert drawn(busy(), 80) == [
        "batchling  600 of 1,404 answered · 4 failed · $0.10, $0.10 saved · 2 min 20 s",
        "",
        "provider   model                                       done  failed        state",
        "openai     gpt-5-mini        ━━━━━━━━━━━────    900 / 1,200       4   2 min left",
        "anthropic  claude-haiku-4-5  ───────────────        0 / 204            submitted",
    ]


def test_sixty_columns_keep_what_matters() -> None:
    assert drawn(busy(), 60) == [
        "batchling  600 of 1,404 answered · 4 failed · 2 min 20 s",
        "",
        "model                                      done        state",
        "gpt-5-mini        ━━━━━━━━━━────    900 / 1,200   2 min left",
        "claude-haiku-4-5  ──────────────        0 / 204    submitted",
    ]


def test_a_wide_terminal_shows_where_every_request_is() -> None:
    lines = drawn(busy(), 140)
    assert lines[0] == (
        "batchling  600 of 1,404 answered · 4 failed · 1 of 3 batches over · 320.0k tokens · $0.10, $0.10 saved · 2 min 20 s"
    )
    head = lines[2].split()
    assert head[:7] == ["provider", "model", "done", "queued", "submitted", "running", "failed"]
    assert "0 / 204" in lines[4]
    assert lines[4].index("204", lines[4].index("/ 204") + 5) + 3 == lines[2].index("submitted") + len("submitted")


@pytest.mark.thorough
def test_nothing_is_wider_or_higher_than_the_terminal() -> None:
    crowd = busy()
    for number in range(40):
        target = Target(f"provider{number}", "b", "/v1/chat/completions", f"日本語-{'x' * number}", "a")
        crowd.add(events.Queued(target), 3.0)
        crowd.add(events.Held(target, "many " * 40), 3.0)
    for width in range(1, 200, 7):
        for height in range(1, 40, 3):
            lines = draw(view([crowd], 140), width, height)
            assert len(lines) <= height
            assert all(line.cell_len <= width for line in lines)
    assert drawn(busy(), 19) == []


def test_many_queues_are_folded_and_those_under_way_stay() -> None:
    progress = Progress(0.0)
    for number in range(20):
        target = Target("openai", "b", "/v1/responses", f"model-{number}", "a")
        progress.add(events.Queued(target), 1.0)
        if number < 13:
            progress.add(events.Answered(target, True, False), 2.0)
    lines = drawn(progress, 80)
    assert lines[-1] == "and 13 more: 13 done"
    assert [line.split()[1] for line in lines[3:-1]] == [f"model-{number}" for number in range(13, 20)]


def test_a_name_cannot_move_the_cursor() -> None:
    target = Target("openai", "b", "/v1/chat/completions", "m\x1b[2J\n", "a")
    text = "\n".join(drawn(play(events.Queued(target), events.Held(target, "no\rroom\x07")), 80))
    assert "m?[2J?" in text
    assert "no?room?" in text
    assert not set(text) & {"\x1b", "\r", "\x07"}


@pytest.mark.parametrize("signs", [ASCII, UNICODE])
def test_a_bar_is_full_only_when_all_is_done(signs: Signs) -> None:
    nearly = play(*[events.Queued(CHAT)] * 1000, *answered(999))
    assert signs.empty in drawn(nearly, 80, signs=signs)[3].replace("gpt-5-mini", "")
    assert signs.empty not in drawn(play(*[events.Queued(CHAT)] * 5, *answered(5)), 80, signs=signs)[3].replace(
        "gpt-5-mini", ""
    )
    assert "".join(drawn(busy(), 80, signs=ASCII)).isascii()


def test_without_colours_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    console = Console(file=io.StringIO(), force_terminal=True, color_system="standard", width=80)
    with console.capture() as captured:
        console.print(Text("\n").join(draw(view([busy()], 140), 79, 20)))
    assert "\x1b[3" not in captured.get()
    assert "━" in captured.get()
    assert "─" in captured.get()


def test_nothing_to_tell() -> None:
    assert drawn(Progress(0.0), 80) == []
