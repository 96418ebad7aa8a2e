"""What the demo prints fits 80 columns, and its commands stay commands."""

import io

from rich.console import Console

from licensing.errors import WeightlockError
from tests.tools.quiet_page import quiet_page
from tools.demo_page import Page


def test_page_breaks_long_lines_and_commands_between_options() -> None:
    page, text = quiet_page(columns=200)
    page.trial("an attempt")
    page.say("word " * 40 + "x" * 200)
    page.refused(WeightlockError("sentence " * 40))
    page.command("weightlock issue", *(f'--option-{number} "a value"' for number in range(12)))
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    command = text.getvalue()[text.getvalue().index("$ ") :]
    assert command.count('"a value"') == 12
    assert all(line.endswith(" \\") for line in command.splitlines()[:-1])


def test_page_has_colours_on_a_terminal_alone() -> None:
    text = io.StringIO()
    Page(Console(file=text, force_terminal=True, color_system="standard", width=80)).step("A step")
    assert "\x1b[" in text.getvalue()
    page, plain = quiet_page()
    page.step("A step")
    assert plain.getvalue() == "\n1  A step\n"
