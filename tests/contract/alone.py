"""A process of its own that loads locked models, for a test that watches it: python -m tests.contract.alone KEY OPTIONS

The arguments are the file of the content key, and the options of `load_model` as JSON. The process loads each locked
model that a line of standard input names, holds on to it, and says "loaded".
"""

import json
import sys

from cryptors import load_model


def main(key: str, options: str) -> None:
    models = []
    for line in sys.stdin:
        models.append(load_model(line.removesuffix("\n"), crypt_key=key, **json.loads(options)))
        print("loaded", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
