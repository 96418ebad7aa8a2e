"""The command line as its users meet it: as a process, or in this process where many calls must be fast."""

import contextlib
import io
import json
import os
import subprocess
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from tests.components import need
from tools.main import run_command_line

__all__ = ["PROGRAM", "ROOT", "Outcome", "as_process", "environment", "here", "obeying_modes"]

ROOT = Path(__file__).parent.parent
"""Where `tests` is found by processes that import it."""
PROGRAM = str(Path(sysconfig.get_path("scripts")) / "weightlock")


@dataclass(frozen=True)
class Outcome:
    """How one command ended, and what it printed."""

    code: int
    stdout: str
    stderr: str

    @property
    def facts(self) -> dict[str, Any]:
        """The JSON object that standard output must be, whole."""
        facts = json.loads(self.stdout)
        assert isinstance(facts, dict)
        return facts

    def done(self) -> "Outcome":
        """Asserts that the command did what it was asked to do, without a word on standard error."""
        assert (self.code, self.stderr) == (0, ""), self
        return self

    def refused(self, code: int, reason: str) -> str:
        """Asserts that a command with `--json` refused as the design page says.

        That is: this exit code; on standard error one sentence in lower case without a full stop, then hints, and
        never a traceback; on standard output one object with this reason, the same sentence and the same hints.

        Returns:
            The sentence.
        """
        sentence, hints = self.sentence_and_hints()
        assert self.code == code, self
        assert self.facts["reason"] == reason, self
        assert self.facts["ok"] is False
        assert (self.facts["message"], self.facts["hints"]) == (sentence, hints)
        return sentence

    def sentence_and_hints(self) -> tuple[str, list[str]]:
        """Asserts that standard error follows the grammar of errors, and returns what it says."""
        first, *others = self.stderr.removesuffix("\n").split("\n")
        assert first.startswith("weightlock: "), self
        assert all(line.startswith("hint: ") for line in others), self
        sentence = first.removeprefix("weightlock: ")
        assert sentence, self
        assert sentence[0] == sentence[0].lower() or sentence.split()[0].isupper(), sentence  # "GPU 0 …" is a sentence.
        assert not sentence.endswith((".", "!", " ")), sentence
        assert "Traceback" not in self.stderr
        assert "internal error" not in sentence
        return sentence, [line.removeprefix("hint: ") for line in others]


def here(*arguments: str | os.PathLike[str]) -> Outcome:
    """Runs a command in this process, which `run` must not harden for all that follows."""
    stdout, stderr = io.StringIO(), io.StringIO()
    unhardened = mock.patch("licensing.hardening.harden")
    with unhardened, contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        code = run_command_line([os.fspath(argument) for argument in arguments])
    return Outcome(code, stdout.getvalue(), stderr.getvalue())


def as_process(
    *arguments: str | bytes | os.PathLike[str],
    variables: Mapping[str, str] | None = None,
    folder: Path | None = None,
    prefix: Sequence[str] = (),
    **options: Any,
) -> Outcome:
    """Runs a command as a process of its own.

    Args:
        *arguments: of `weightlock`; bytes for names that are no text.
        variables: environment variables beside those of this process.
        folder: where it runs.
        prefix: a command that runs the command.
        **options: of `subprocess.run`.
    """
    command = [*prefix, PROGRAM, *arguments]
    ended = subprocess.run(command, cwd=folder, env=environment(variables), capture_output=True, check=False, **options)
    return Outcome(ended.returncode, *(text.decode(errors="surrogateescape") for text in (ended.stdout, ended.stderr)))


def environment(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """Returns this process's environment without what a developer's own use of weightlock may have put there.

    The state directory stays: it is that of the tests.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("WEIGHTLOCK_") or name == "WEIGHTLOCK_STATE"
    }
    return {**kept, **(variables or {})}


def obeying_modes() -> tuple[str, ...]:
    """Returns a prefix under which root, too, obeys the permissions of files, as every other user does.

    Another user would do as well, but could often not read the environment that the tests run in.
    """
    if os.geteuid() != 0:
        return ()
    need("setpriv")
    return ("setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--")
