"""Changes to bytes, for formats that are not JSON and where Atheris is not there to make them."""

from random import Random

__all__ = ["mutate_bytes"]

_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)


def mutate_bytes(data: bytes, random: Random) -> bytes:
    """Returns the bytes with one to four changes."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4))):
        place, length = random.randrange(len(changed) + 1), random.choice((1, 1, 2, 4, 8, 32))
        kind = random.randrange(7)
        if kind == 0:
            del changed[place : place + length]
        elif kind == 1:
            changed[place:place] = random.randbytes(length)
        elif kind == 2:
            changed[place : place + length] = random.randbytes(len(changed[place : place + length]))
        elif kind == 3 and place < len(changed):
            changed[place] ^= 1 << random.randrange(8)
        elif kind == 4:
            number = random.choice(_NUMBERS).to_bytes(8, "little")[: min(length, 8)]
            changed[place : place + len(number)] = number[::-1] if random.random() < 0.5 else number
        elif kind == 5:
            other = random.randrange(len(changed) + 1)
            changed[place:place] = changed[other : other + length * 4]
        else:
            del changed[place:]
    return bytes(changed)
