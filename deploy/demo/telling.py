"""How the demonstration speaks: numbered scenes, who asked for what, what was answered, small tables.

Colours only on a terminal, and not under NO_COLOR. Everything shown comes from answers, so it is printed as plain text.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from deploy.demo.client import Answer

WIDTH = 118  # Where nobody has a terminal: fits an editor, and a page of documentation.
INDENT = 4
_GOOD, _NO, _WAITS = "green", "red", "yellow"


class Telling:
    """Writes the story to standard output."""

    def __init__(self, console: Console | None = None) -> None:
        found = console or Console(highlight=False)
        self._console = found if found.is_terminal else Console(highlight=False, width=WIDTH)
        self._scene = 0

    def scene(self, title: str) -> None:
        """The next scene begins."""
        self._scene += 1
        self._print(Text(f"\n{self._scene:>2}  {title}", style="bold"), indent=0)

    def say(self, sentence: str, *, style: str = "") -> None:
        """One line of the story."""
        self._print(Text(sentence, style=style))

    def asked(self, who: str, what: str, arguments: Mapping[str, Any]) -> None:
        """Somebody asks for a call."""
        pairs = " ".join(f"{name}={_written(value)}" for name, value in arguments.items())
        self.say(f"{who}: {what} {pairs}".rstrip())

    def answered(self, answer: Answer, more: str = "") -> None:
        """What came back: status, and state or reason."""
        style = _NO if answer.status >= 400 else _WAITS if answer.status == 202 else _GOOD
        state = answer.reason or answer.document.get("status") or ""
        head = Text(f"-> {answer.status} {state}", style=style)
        self._print(Text.assemble(head, f"  {more}" if more else ""), indent=INDENT + 2)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """A small table; numbers stand right. Without `columns` it has no head."""
        listed = [tuple(row) for row in rows]
        table = Table(box=None, pad_edge=False, header_style="dim", show_header=bool(columns))
        for place in range(max(map(len, listed), default=0)):
            is_number = all(type(row[place]) is int for row in listed)
            title = columns[place] if columns else ""
            table.add_column(title, justify="right" if is_number else "left", overflow="fold")
        for row in listed:
            table.add_row(*(Text("" if value is None else str(value)) for value in row))
        self._print(table, indent=INDENT + 2)

    def end(self, sentence: str, *, is_good: bool) -> None:
        """The last word."""
        self._print(Text(f"\n{sentence}", style=f"bold {_GOOD if is_good else _NO}"), indent=0)

    def _print(self, shown: RenderableType, indent: int = INDENT) -> None:
        with self._console.capture() as captured:
            self._console.print(Padding(shown, (0, 0, 0, indent), expand=False))
        # What a table fills its lines up with is in the way wherever the output is kept.
        self._console.file.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))
        self._console.file.flush()


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    return shlex.quote(text if len(text) < 40 else text[:19] + "…")
