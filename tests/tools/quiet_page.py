"""A page that nobody sees, for tests of what the demo prints."""

import io

from rich.console import Console

from tools.demo_page import Page

__all__ = ["quiet_page"]


def quiet_page(columns: int = 200) -> tuple[Page, io.StringIO]:
    """Returns a page, and what is printed on it."""
    text = io.StringIO()
    return Page(Console(file=text, width=columns)), text
