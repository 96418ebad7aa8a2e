"""A process of its own that loads locked models of one kind, for tests that watch it: python -m tests.contract.alone.

Arguments are the case and the file of the content key. It loads each locked model that a line of standard input names,
holds on to it, and says "loaded".
"""

import sys

from cryptors import load_model
from tests.contract.cases import CASES


def main(name: str, key: str) -> None:
    (case,) = (case for case in CASES if case.name == name)
    models = []
    for line in sys.stdin:
        models.append(load_model(line.removesuffix("\n"), crypt_key=key, **case.options))
        print("loaded", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
