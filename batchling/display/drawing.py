"""A view as lines of text: a summary, a row for each queue, and below them what is causing delays.

Every line fits the width: the least important columns are dropped first, and many queues are folded into one line. Only
the terminal's sixteen colours are used, so its own light or dark theme applies, and colour is never the only sign.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from batchling.core.text import printable
from batchling.display.progress import Row, View
from batchling.display.text import duration, roughly, usd

MOST_ROWS = 8
"""The most queues that are drawn; the others are folded into one line."""
_NOTES = 2
_GAP = 2
_BAR = (8, 14, 40)
"""Cells of a bar: the least, what it gets before unimportant columns are added, and the most."""
_NAME = 30
"""The most cells that a name may take."""


@dataclass(frozen=True, slots=True)
class Signs:
    """The characters to draw with."""

    full: str = "━"
    empty: str = "─"
    between: str = " · "
    cut: str = "…"


UNICODE = Signs()
ASCII = Signs("=", "-", ", ", "~")
"""For terminals that support nothing else."""


@dataclass(frozen=True, slots=True)
class _Column:
    """`rank` is the order in which columns get their space; a bar has no cells of its own."""

    head: str
    rank: int
    cell: Callable[[Row], str]
    side: Literal["left", "right"] = "right"
    style: str = ""
    always: bool = True
    """Whether it is shown even when all its cells are empty."""


def draw(view: View, width: int, height: int, signs: Signs = UNICODE) -> list[Text]:
    """The lines of a view, none wider than `width`, at most `height` of them; none when there is nothing to show."""
    if not view.rows or width < 20 or height < 3:
        return []
    notes = _notes(view)[: max(0, min(_NOTES, height - 5))]
    rows, folded = _fold(view.rows, max(1, min(MOST_ROWS, height - 3 - len(notes))))
    apart = [Text()] if height >= len(rows) + len(notes) + 4 else []
    lines = [_summary(view, width, signs), *apart, *_table(view, rows, width, signs)]
    if folded:
        lines.append(_clip(Text(f"and {len(folded):,} more: {_words(folded)}", "dim"), width, signs))
    lines += [_clip(Text(note, "yellow"), width, signs) for note in notes]
    return lines


def _fold(rows: Sequence[Row], most: int) -> tuple[list[Row], list[Row]]:
    """The rows to show, preferring those under way to finished ones, and the others."""
    if len(rows) <= most:
        return list(rows), []
    chosen = {id(row) for row in sorted(rows, key=lambda row: row.finished)[: max(1, most - 1)]}
    return [row for row in rows if id(row) in chosen], [row for row in rows if id(row) not in chosen]


def _words(rows: Sequence[Row]) -> str:
    return ", ".join(f"{count:,} {word}" for word, count in Counter(map(state, rows)).items())


def state(row: Row) -> str:
    """The state of a queue, in one word."""
    if row.finished:
        return "done"
    if row.note:
        return "held" if row.note.startswith("held") else "retrying"
    if row.running or row.ready:
        return "running"
    return "submitted" if row.submitted else "queued"


# The summary.


def _summary(view: View, width: int, signs: Signs) -> Text:
    """The parts that fit, in order."""
    parts = [(rank, text) for rank, text in _parts(view) if text is not None]
    wide = len("batchling  ")
    chosen: list[int] = []
    for number in sorted(range(len(parts)), key=lambda number: parts[number][0]):
        needs = cell_len(parts[number][1].plain) + (len(signs.between) if chosen else 0)
        if wide + needs <= width:
            wide += needs
            chosen.append(number)
    line = Text.assemble(("batchling", "bold"), "  ")
    for place, number in enumerate(sorted(chosen)):
        line.append(signs.between if place else "", "dim").append_text(parts[number][1])
    return _clip(line, width, signs)


def _parts(view: View) -> list[tuple[int, Text | None]]:
    rows = view.rows
    answered, asked = sum(row.answered for row in rows), sum(row.asked for row in rows)
    failed, cached = sum(row.failed for row in rows), sum(row.cached for row in rows)
    over, batches = sum(row.over for row in rows), sum(row.batches for row in rows)
    answers = Text(f"{answered:,} of {asked:,} answered", "green" if answered >= asked else "")
    cost = view.cost
    money = ""
    if cost.answers and cost.paid is not None:
        money = usd(cost.paid) + (f", {usd(cost.saved)} saved" if cost.saved else "")
    return [
        (0, answers),
        (3, _some(failed, f"{failed:,} failed", "red")),
        (4, _some(view.real_time, f"{view.real_time:,} real time", "yellow")),
        (5, _some(view.throttled, f"{view.throttled:,} wait for room", "yellow")),
        (8, _some(cached, f"{cached:,} from cache")),
        (7, _some(batches > 1, f"{over:,} of {batches:,} batches over")),
        (9, _some(cost.input + cost.output, f"{_short(cost.input + cost.output)} tokens")),
        (6, _some(money, money)),
        (1, Text(duration(view.elapsed))),
        (2, None if view.left is None else Text(f"about {roughly(view.left)} left", "cyan")),
    ]


def _some(there: object, text: str, style: str = "") -> Text | None:
    return Text(text, style) if there else None


# The table.


def _short_endpoint(endpoint: str) -> str:
    return endpoint.rpartition(":")[2].removeprefix("/v1/").lstrip("/")


def _number(value: int) -> str:
    return f"{value:,}" if value else ""


def _columns(now: float) -> list[_Column]:
    def expiry(row: Row) -> str:
        return "" if row.expires_at is None or row.finished else duration(row.expires_at - now)

    def money(row: Row) -> str:
        return usd(row.cost.paid) if row.cost.answers and row.cost.paid is not None else ""

    def standing(row: Row) -> str:
        return state(row) if row.left is None or row.note else f"{roughly(row.left)} left"

    return [
        _Column("provider", 4, lambda row: row.provider, "left", "dim"),
        _Column("endpoint", 11, lambda row: _short_endpoint(row.endpoint), "left", "dim"),
        _Column("model", 0, lambda row: row.model, "left"),
        _Column("", 3, lambda _: "", "left"),
        _Column("done", 2, lambda row: f"{row.answered + row.ready:,} / {row.asked:,}"),
        _Column("queued", 6, lambda row: _number(row.queued)),
        _Column("submitted", 7, lambda row: _number(row.submitted)),
        _Column("running", 8, lambda row: _number(row.running)),
        _Column("failed", 5, lambda row: _number(row.failed), style="red"),
        _Column("cached", 10, lambda row: _number(row.cached)),
        _Column("batches", 9, lambda row: f"{row.over:,} / {row.batches:,}" if row.batches else ""),
        _Column("tokens", 14, lambda row: _short(row.cost.input + row.cost.output), always=False),
        _Column("cost", 12, money, always=False),
        _Column("expires in", 13, expiry, style="dim", always=False),
        _Column("state", 1, standing),
    ]


def _table(view: View, rows: Sequence[Row], width: int, signs: Signs) -> list[Text]:
    columns = _columns(view.now)
    cells = [[printable(column.cell(row)) for column in columns] for row in rows]
    number = max(len(f"{row.asked:,}") for row in rows)
    widths: list[int] = []
    for place, column in enumerate(columns):
        wide = max((cell_len(line[place]) for line in cells), default=0)
        most = min(_NAME, max(8, width - 32)) if column.side == "left" else width
        # A column keeps its width while its numbers come and go.
        least = number if column.side == "right" and column.head not in ("tokens", "cost", "expires in") else 0
        if column.head == "done":
            least = 2 * number + 3
        widths.append(min(most, max(wide, cell_len(column.head), least)) if wide or column.always else 0)
    widths[-1] = max(widths[-1], len("59 min left"))
    chosen, bar = _choose(columns, widths, width)
    head = Text()
    lines = [Text() for _ in rows]
    for place in chosen:
        column, size = columns[place], widths[place]
        gap = " " * _GAP if len(head) else ""
        if column.head == "":
            head.append(gap + " " * bar)
            for line, row in zip(lines, rows, strict=True):
                line.append(gap)
                line.append_text(_bar(row, bar, signs))
            continue
        head.append(gap + _cell(column.head, size, column.side, signs), "dim")
        for line, row, row_cells in zip(lines, rows, cells, strict=True):
            style = _STATES[state(row)] if column.head == "state" else column.style
            line.append(gap).append(_cell(row_cells[place], size, column.side, signs), style)
    return [_clip(line, width, signs) for line in (head, *lines)]


_STATES = {"done": "green", "held": "yellow", "retrying": "yellow", "running": "cyan", "submitted": "", "queued": "dim"}


def _choose(columns: Sequence[_Column], widths: Sequence[int], width: int) -> tuple[list[int], int]:
    """The columns that there is room for, and the width of the bar."""
    least, wanted, most = _BAR
    left = width
    chosen: list[int] = []
    bar = 0
    for place in sorted(range(len(columns)), key=lambda place: columns[place].rank):
        column = columns[place]
        if column.head == "":
            bar = least if left >= least + _GAP else 0
            left -= bar + _GAP if bar else 0
            if bar:
                chosen.append(place)
            continue
        needs = widths[place] + (_GAP if chosen else 0)
        spare = wanted - least if bar and column.rank > 6 else 0
        if widths[place] and needs + spare <= left:
            left -= needs
            chosen.append(place)
    return sorted(chosen), min(most, bar + left) if bar else 0


def _bar(row: Row, size: int, signs: Signs) -> Text:
    """Answers, failures and what the provider has finished, out of all requests."""
    failed = _share(row.failed, row.asked, size)
    done = min(size - failed, max(_share(row.answered + row.ready, row.asked, size) - failed, 0))
    good = "green" if row.finished else "cyan"
    rest = size - done - failed
    return Text.assemble((signs.full * done, good), (signs.full * failed, "red"), (signs.empty * rest, "dim"))


def _share(part: int, whole: int, size: int) -> int:
    """Cells for a part: at least one unless it is zero, all of them only when it is the whole."""
    if part <= 0 or whole <= 0:
        return 0
    return size if part >= whole else max(1, min(size - 1, round(size * part / whole)))


def _cell(text: str, size: int, side: str, signs: Signs) -> str:
    wide = cell_len(text)
    if wide > size:
        return set_cell_size(text, size - cell_len(signs.cut)) + signs.cut
    return text + " " * (size - wide) if side == "left" else " " * (size - wide) + text


# Words.


def _notes(view: View) -> list[str]:
    return [printable(f"{row.provider} {row.model}: {row.note}") for row in view.rows if row.note and not row.finished]


def _clip(line: Text, width: int, signs: Signs) -> Text:
    line.rstrip()
    if line.cell_len > width:
        line.right_crop(len(line) - len(set_cell_size(line.plain, width - cell_len(signs.cut))))
        line.append(signs.cut)
    return line


def _short(number: int) -> str:
    for unit, sign in ((1_000_000_000, "B"), (1_000_000, "M"), (1_000, "k")):
        if number >= unit:
            return f"{number / unit:.1f}{sign}"
    return str(number) if number else ""
