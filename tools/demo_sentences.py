"""The sentences that the demo embeds, and the comparison of the two models' embeddings."""

from typing import Any

from rich.text import Text

from cryptors.frameworks import import_framework
from tools.demo_errors import DemoFailedError
from tools.demo_page import Page

__all__ = ["SENTENCES", "compare_embeddings"]

SENTENCES = (
    "The cat is asleep on the sofa.",
    "A kitten naps on the couch.",
    "How do I renew my license?",
    "My license has expired. What now?",
    "The patient may have influenza.",
    "Fever and a cough suggest flu.",
)
"""Three pairs that mean nearly the same in other words; short, so that a table of them fits 80 columns."""

TOLERANCE = 1e-5
"""What two runs of one model in float32 may differ by, should a runtime ever add in another order."""

RELATED = 0.4


def compare_embeddings(page: Page, plaintext: Any, locked: Any) -> None:
    """Prints the similarities that both models give, and whether their embeddings are the same.

    Args:
        page: where to print.
        plaintext: the plaintext model's embeddings, float32 [sentences, 384], each of length 1.
        locked: those of the locked model.

    Raises:
        DemoFailedError: they are not the same, or similar sentences do not lie close together.
    """
    if plaintext.shape != locked.shape:
        raise DemoFailedError(f"the locked model gives {locked.shape} numbers, not {plaintext.shape}")
    above, below = plaintext @ plaintext.T, locked @ locked.T
    page.table(*_table(above, below))
    _require_sense(below)
    numbers = f"{len(locked)} embeddings of {locked.shape[1]} numbers"
    if plaintext.tobytes() == locked.tobytes():
        page.holds(f"{numbers}: bit for bit the plaintext model's")
        return
    difference = float(abs(plaintext - locked).max())
    if not difference <= TOLERANCE:  # Written so that "not a number" is refused too.
        raise DemoFailedError(f"the embeddings of the locked model differ from the plaintext model's by {difference}")
    page.holds(f"{numbers}: the plaintext model's to within {difference:.1e}, not bit for bit")


def _table(above: Any, below: Any) -> list[Text]:
    width = max(map(len, SENTENCES)) + 4
    lines = [Text(" " * width + "".join(f"{number:>6}" for number in range(1, len(SENTENCES) + 1)), "dim")]
    for row, sentence in enumerate(SENTENCES):
        line = Text(f"{row + 1}  {sentence}".ljust(width))
        for column in range(len(SENTENCES)):
            similarity = float((above if column > row else below)[row][column])
            style = "dim" if column == row else "bold green" if similarity >= RELATED else ""
            line.append(f"{similarity:>6.2f}", style)
        lines.append(line)
    return lines


def _require_sense(similarities: Any) -> None:
    """Refuses a model whose nearest sentence is not the one that means the same."""
    numpy = import_framework("numpy", "onnx")
    others = similarities - 2 * numpy.eye(len(similarities), dtype=similarities.dtype)
    for row, nearest in enumerate(others.argmax(axis=1)):
        if nearest != row ^ 1:
            raise DemoFailedError(
                f"the model finds {SENTENCES[row]!r} nearest to {SENTENCES[nearest]!r}, which makes no sense"
            )
