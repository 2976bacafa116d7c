"""The display in a Jupyter notebook: one output of the cell, updated in place.

It uses IPython's display messages, not stdout or stderr, and needs no widgets.
"""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console
from rich.text import Text

_WIDTH = 100
_HEIGHT = 20
_FRAME = (
    '<pre style="line-height:1.35;white-space:pre;overflow-x:auto;'
    "font-family:Menlo,'DejaVu Sans Mono',consolas,monospace\">{code}</pre>"
)


class Notebook:
    """An output of the cell in which it was first shown."""

    size: tuple[int, int] = (_WIDTH, _HEIGHT)

    def __init__(self) -> None:
        # Here, in the thread of a call; `show` is called in the display's thread, which imports nothing.
        from IPython.display import display  # type: ignore[import-not-found,unused-ignore]  # it is there in a notebook

        self._display = display
        self._handle: Any = None
        self._shown: dict[str, str] = {}

    def show(self, lines: list[Text]) -> None:
        """Show these lines in place of the current ones."""
        bundle = _bundle(lines)
        if bundle == self._shown:
            return
        self._shown = bundle
        if self._handle is None:
            self._handle = self._display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)


def _bundle(lines: list[Text]) -> dict[str, str]:
    console = Console(file=io.StringIO(), record=True, width=_WIDTH, force_terminal=True, force_jupyter=False)
    text = Text("\n").join(lines)
    console.print(text, no_wrap=True)
    return {"text/plain": text.plain, "text/html": console.export_html(code_format=_FRAME, inline_styles=True)}
