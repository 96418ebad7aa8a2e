"""What test_refusals.py starts: loads locked models as if modules were missing that are installed.

Each line of standard input is a JSON list: the name of a module, and the locked model, the file of its key and the
options for `load_model`. What was refused goes to standard output, as a JSON list in a line. Each model is loaded in a
process that is forked for it, in which no framework was imported before.
"""

import json
import os
import sys
from typing import Any

from cryptors import CryptorError, load_model
from tools.exit_codes import exit_code


class Nowhere:
    """A finder that lets no other one find a module."""

    def __init__(self, module: str) -> None:
        self._module = module

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name.partition(".")[0] == self._module:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def main() -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            print(json.dumps(refused(*json.loads(line))))
            sys.exit()
        assert os.waitpid(child, 0)[1] == 0


def refused(module: str, locked: str, key: str, options: dict[str, Any]) -> list[Any]:
    sys.meta_path.insert(0, Nowhere(module))
    try:
        load_model(locked, crypt_key=key, **options)
    except CryptorError as error:
        return [error.reason, exit_code(error), error.message, error.hints]
    return []


if __name__ == "__main__":
    main()
