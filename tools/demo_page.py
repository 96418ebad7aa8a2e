"""The page that the demo prints: numbered steps, command lines and outcomes, at most 80 columns wide."""

import textwrap

from rich.console import Console
from rich.text import Text

from licensing.errors import WeightlockError
from tools.exit_codes import exit_code

__all__ = ["Page"]

MAX_COLUMNS = 80
INDENT = "   "
_NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"


class Page:
    """Prints to standard output, in colours where that is a terminal.

    Lines are broken here and not by rich, which would break inside options and fill lines with spaces.

    Args:
        console: where to print; by default standard output, with rich's rules for colours.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._columns = min(MAX_COLUMNS, self._console.width)
        self._steps = self._trials = 0
        self._indent = INDENT
        unicode = self._console.encoding.startswith("utf")
        self._holds_mark, self._refused_mark = ("✓", "✗") if unicode else ("=", "!")

    def title(self, text: str, below: str) -> None:
        """Prints the first line, and a sentence below it."""
        self._print(text, "bold", "")
        self._print(below, "", "")

    def step(self, text: str) -> None:
        """Begins the next numbered step."""
        self._steps += 1
        self._trials = 0
        self._indent = INDENT
        self._console.print()
        self._print(text, "bold cyan", f"{self._steps}  ")

    def trial(self, text: str) -> None:
        """Begins the next attempt of a step, with a letter."""
        self._trials += 1
        self._indent = INDENT * 2
        self._console.print()
        self._print(text, "bold", f"{INDENT}{'abcdefghijklmnopqrstuvwxyz'[self._trials - 1]}  ")

    def command(self, *parts: str) -> None:
        """Prints a command line that a shell would take; it is broken between its parts only."""
        text = " ".join(part.replace(" ", _NO_BREAK_SPACE) for part in parts)
        # Two columns are kept for the mark that tells the shell of another line.
        width = self._columns - len(INDENT) - len(" \\")
        lines = self._lines(text, "$ ", "    ", width)
        for number, line in enumerate(lines, start=1):
            mark = "" if number == len(lines) else " \\"
            self._raw(INDENT + line.replace(_NO_BREAK_SPACE, " ") + mark, "green")

    def say(self, text: str) -> None:
        """Prints a sentence about the step or the attempt."""
        self._print(text, "", self._indent)

    def note(self, text: str) -> None:
        """Prints what is not as a reader may expect, such as a stand-in for hardware that is not there."""
        self._print(text, "yellow", self._indent)

    def holds(self, text: str) -> None:
        """Prints something that was checked and holds."""
        self._print(text, "bold green", f"{INDENT}{self._holds_mark}  ")

    def refused(self, error: WeightlockError) -> None:
        """Prints a refusal: the sentence of the command line, its exit code, and the reason for programs."""
        self._print(f"weightlock: {error.message}", "red", f"{INDENT}{self._refused_mark}  ")
        self._print(f"exit code {exit_code(error)}, reason {error.reason}", "dim", self._indent)

    def limits(self, text: str) -> None:
        """Prints what the step does not show, below a blank line."""
        self._console.print()
        self._print(text, "yellow", INDENT)

    def table(self, *lines: Text) -> None:
        """Prints lines that are laid out already, below a blank one."""
        self._console.print()
        for line in lines:
            self._console.print(Text(INDENT) + line, soft_wrap=True)
        self._console.print()

    def end(self, text: str) -> None:
        """Prints the last lines."""
        self._console.print()
        self._print(text, "bold", "")

    def _print(self, text: str, style: str, first: str) -> None:
        for line in self._lines(text, first, " " * len(first), self._columns):
            self._raw(line, style)

    def _lines(self, text: str, first: str, rest: str, width: int) -> list[str]:
        return textwrap.wrap(text, max(width, 20), initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)

    def _raw(self, line: str, style: str) -> None:
        self._console.print(Text(line, style), soft_wrap=True)
