"""The whole story in a minute: `weightlock demo`."""


def demo() -> None:
    """Play the whole story on a real model: lock, request, issue, run, and what must fail."""
    from tools.demo import play

    play()
