"""The demo: written next."""


def play() -> None:
    """Plays the demo."""
