"""Makes the pictures of the live display, from streams of events: four states, two widths, two themes.

    python docs/pictures/draw.py        # needs rsvg-convert, pngquant and the font DejaVu Sans Mono

They are what a terminal shows: the same lines that batchling draws, exported by rich.
"""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from batchling.core import events
from batchling.core.cost import Cost
from batchling.core.model import Target
from batchling.display.drawing import draw
from batchling.display.progress import Progress, view

FOLDER = Path(__file__).parent
DAY = 86_400.0
CHAT = Target("openai", "", "/v1/chat/completions", "gpt-5-mini", "")
VECTORS = Target("openai", "", "/v1/embeddings", "text-embedding-3-small", "")
CLAUDE = Target("anthropic", "", "/v1/messages", "claude-haiku-4-5", "")
GEMINI = Target("gemini", "", "/v1beta/models/*:generateContent", "gemini-3-flash", "")

LIGHT = TerminalTheme(
    (255, 255, 255),
    (40, 44, 52),
    [
        (40, 44, 52),
        (196, 43, 43),
        (33, 136, 72),
        (166, 110, 8),
        (38, 98, 186),
        (142, 68, 173),
        (0, 124, 145),
        (120, 124, 130),
    ],
    [
        (120, 124, 130),
        (196, 43, 43),
        (33, 136, 72),
        (166, 110, 8),
        (38, 98, 186),
        (142, 68, 173),
        (0, 124, 145),
        (0, 0, 0),
    ],
)
DARK = TerminalTheme(
    (24, 27, 33),
    (214, 218, 224),
    [
        (40, 44, 52),
        (240, 113, 120),
        (126, 199, 138),
        (229, 192, 123),
        (97, 175, 239),
        (198, 146, 233),
        (86, 182, 194),
        (171, 178, 191),
    ],
    [
        (92, 99, 112),
        (240, 113, 120),
        (126, 199, 138),
        (229, 192, 123),
        (97, 175, 239),
        (198, 146, 233),
        (86, 182, 194),
        (255, 255, 255),
    ],
)
FRAME = """\
<svg viewBox="0 0 WIDTH HEIGHT" width="WIDTH" height="HEIGHT" xml:space="preserve"
 xmlns="http://www.w3.org/2000/svg">
<style>.{unique_id}-matrix {{ font-family: "DejaVu Sans Mono"; font-size: {char_height}px; line-height: {line_height}px; }}
{styles}</style>
<defs>{lines}</defs>
<rect width="WIDTH" height="HEIGHT" rx="10" fill="BACKGROUND"/>
<g transform="translate(12 12)">{backgrounds}<g class="{unique_id}-matrix">{matrix}</g></g>
</svg>
"""


class Stage:
    """A run that is played, one event after the other."""

    def __init__(self) -> None:
        self.progress = Progress(0.0)
        self.now = 0.0

    def at(self, now: float, *happened: events.Event) -> None:
        """These events, so many seconds after the start."""
        self.now = now
        for event in happened:
            self.progress.add(event, now)

    def end(self, batch: str, target: Target, answered: int, failed: int, tokens: int, dollars: float) -> None:
        """A batch whose rows were read."""
        cost = Cost(answered, 0, tokens, 0, 0, tokens // 6, 2 * dollars, dollars)
        good, bad = events.Answered(target, True, False), events.Answered(target, False, False)
        self.at(self.now, events.Ended(batch, answered, failed, cost), *[good] * answered, *[bad] * failed)
        self.at(self.now, events.Settled(batch))


def queued() -> Stage:
    """Requests come in; one batch has just left."""
    run = Stage()
    run.at(0.2, *[events.Queued(CHAT)] * 5_000, *[events.Queued(CLAUDE)] * 1_204, *[events.Queued(VECTORS)] * 800)
    run.at(0.3, *[events.Hit(GEMINI, "g")] * 310, *[events.Answered(GEMINI, True, True)] * 310)
    run.at(2.2, events.Submitted(CHAT, "a", "j", 2_500))
    run.now = 4.0
    return run


def running() -> Stage:
    """Every queue is at its provider, at its own pace."""
    run = queued()
    run.at(5, events.Submitted(CHAT, "b", "j", 2_500), events.Submitted(CLAUDE, "c", "j", 1_204))
    run.at(6, events.Submitted(VECTORS, "d", "j", 800))
    run.at(15, *[events.Polled(name, "", 0, total, DAY) for name, total in (("a", 2_500), ("b", 2_500), ("c", 1_204))])
    run.at(15, events.Polled("d", "", 0, 800, DAY), events.Polled("d", "", 800, 800, DAY))
    run.end("d", VECTORS, 800, 0, 412_000, 0.0041)
    run.at(724, events.Polled("a", "", 1_720, 2_500, DAY), events.Polled("b", "", 1_434, 2_500, DAY))
    run.at(724, events.Polled("c", "", 0, 1_204, DAY))
    return run


def failed() -> Stage:
    """Some rows were refused, and a provider is in trouble."""
    run = running()
    run.at(1_100, events.Polled("a", "", 2_500, 2_500, DAY))
    run.end("a", CHAT, 2_463, 37, 2_190_000, 0.62)
    run.at(1_200, events.Polled("b", "", 2_230, 2_500, DAY))
    run.at(1_204, events.Delayed("c", "poll", "HTTP 529", 40.0))
    return run


def done() -> Stage:
    """All callers have their answers."""
    run = failed()
    run.at(1_404, events.Polled("b", "", 2_500, 2_500, DAY), events.Polled("c", "", 1_204, 1_204, DAY))
    run.end("b", CHAT, 2_500, 0, 2_204_000, 0.63)
    run.end("c", CLAUDE, 1_204, 0, 1_480_000, 1.36)
    return run


def picture(stage: Stage, width: int, theme: TerminalTheme, path: Path) -> None:
    """One PNG."""
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True, color_system="standard")
    lines = draw(view([stage.progress], stage.now), width - 1, 20)
    console.print(Text("\n").join(lines), no_wrap=True)
    size = {
        "BACKGROUND": theme.background_color.hex,
        "WIDTH": f"{width * 12.2 + 18:.0f}",
        "HEIGHT": f"{len(lines) * 24.4 + 26:.0f}",
    }
    frame = FRAME
    for name, value in size.items():
        frame = frame.replace(name, value)
    svg = console.export_svg(title="", theme=theme, code_format=frame, font_aspect_ratio=0.602, unique_id="b")
    made = subprocess.run(["rsvg-convert", "--zoom", "1.3"], input=svg.encode(), capture_output=True, check=True).stdout
    small = subprocess.run(
        ["pngquant", "--quality", "80-98", "--strip", "64", "-"], input=made, capture_output=True, check=True
    )
    path.write_bytes(small.stdout)


def main() -> None:
    """All of them, beside this script."""
    states: tuple[Callable[[], Stage], ...] = (queued, running, failed, done)
    for state in states:
        for width in (80, 140):
            for name, theme in (("light", LIGHT), ("dark", DARK)):
                picture(state(), width, theme, FOLDER / f"{state.__name__}-{width}-{name}.png")


if __name__ == "__main__":
    main()
