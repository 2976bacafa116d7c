"""Numbers, dollars, times and tables as people read them: written here once, for every message and table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence


def count(number: int, one: str, many: str = "") -> str:
    """A number of things: `1 call`, `1,204 calls`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def usd(amount: float) -> str:
    """An amount in US dollars: to the cent, and small ones to two significant digits."""
    if amount == 0 or abs(amount) >= 0.995:
        return f"${amount:,.2f}"
    return f"${amount:.{max(2, 1 - math.floor(math.log10(abs(amount))))}f}"


def size(number: int) -> str:
    """Bytes in a suitable unit: `512 bytes`, `1.2 MB`."""
    value, unit = float(number), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1_000:
            break
        value, unit = value / 1_000, larger
    return f"{value:,.0f} {unit}" if unit == "bytes" or value >= 100 else f"{value:.1f} {unit}"


def duration(seconds: float, *, tenths: bool = False) -> str:
    """A duration in at most two units: `59 s`, `1 min 5 s`, `1 h 2 min`, `24 h`, `3 d`; with `tenths`, also `0.4 s`. A
    negative one, after a clock was set back, is `0 s`."""
    seconds = max(0.0, seconds)
    whole = int(seconds)
    if tenths and whole < 10 and (precise := f"{seconds:.1f}") != "10.0":
        return f"{precise.removesuffix('.0')} s"
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 10:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 10:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    hours = round(whole / 3_600)
    return f"{hours} h" if hours < 48 else f"{round(hours / 24)} d"


def roughly(seconds: float) -> str:
    """An inexact duration, rounded to about one unit."""
    if seconds < 90:
        return f"{max(10, round(seconds, -1)):.0f} s"
    return duration(round(seconds / 60) * 60)


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, words: int) -> list[str]:
    """Aligned lines: the first `words` columns on the left, the numbers after them on the right."""
    cells = [list(head), *([f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = []
    for row in cells:
        padded = [
            cell.ljust(width) if n < words else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(("  " + "  ".join(padded)).rstrip())
    return lines
