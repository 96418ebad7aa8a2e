"""The entry point: the commands, and the grammar of errors."""

import sys
from typing import Annotated

import typer

from licensing.errors import StorageError, UsageError, WeightlockError
from licensing.version import __version__
from tools import (
    clock_commands,
    customer_commands,
    encrypt_commands,
    enrol_commands,
    inspect_command,
    issue_command,
    run_command,
    vendor_commands,
)
from tools.bench_command import bench
from tools.customer_commands import StatusRefusedError
from tools.demo_command import demo
from tools.doctor_command import doctor
from tools.exit_codes import OTHER, USAGE, exit_code
from tools.output import print_error, show_warnings
from tools.streams import finish_streams, prepare_streams

__all__ = ["app", "main"]

app = typer.Typer(
    name="weightlock",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Lock deep-learning models to licensed GPU machines. Vendors encrypt a model once and issue each customer "
    "a license; the locked model runs on the licensed box, offline, and nowhere else.",
)
vendor_app = typer.Typer(no_args_is_help=True, help="The vendor's home.")

VENDOR, CUSTOMER = "Vendor", "Customer"

INTERRUPTED = 130
"""What newer versions of typer return in place of KeyboardInterrupt; no command returns it."""

vendor_app.command("init")(vendor_commands.init)
app.add_typer(vendor_app, name="vendor", rich_help_panel=VENDOR)
app.command("encrypt", rich_help_panel=VENDOR)(encrypt_commands.encrypt)
app.command("decrypt", rich_help_panel=VENDOR)(encrypt_commands.decrypt)
app.command("challenge", rich_help_panel=VENDOR)(enrol_commands.challenge)
app.command("issue", rich_help_panel=VENDOR)(issue_command.issue)
app.command("reset-clock", rich_help_panel=VENDOR)(clock_commands.reset_clock)
app.command("licenses", rich_help_panel=VENDOR)(vendor_commands.licenses)
app.command("models", rich_help_panel=VENDOR)(vendor_commands.models)
app.command("request", rich_help_panel=CUSTOMER)(customer_commands.request)
app.command("respond", rich_help_panel=CUSTOMER)(enrol_commands.respond)
app.command("status", rich_help_panel=CUSTOMER)(customer_commands.status)
app.command("apply", rich_help_panel=CUSTOMER)(clock_commands.apply)
app.command("run", rich_help_panel=CUSTOMER)(run_command.run)
app.command("inspect", rich_help_panel=CUSTOMER)(inspect_command.inspect)
app.command("doctor", rich_help_panel=CUSTOMER)(doctor)
app.command("demo", rich_help_panel=CUSTOMER)(demo)
app.command("bench", rich_help_panel=CUSTOMER)(bench)


def _print_version(value: bool) -> None:
    if value:
        print(f"weightlock {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, metavar="", help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Holds the options that stand before a command."""


def main() -> None:
    """Runs the command line and exits with the code that the outcome has."""
    prepare_streams()
    show_warnings()
    try:
        code = run_command_line(sys.argv[1:])
    except OSError:  # There is nowhere left to say why.
        code = OTHER
    sys.exit(finish_streams(code))


def run_command_line(arguments: list[str]) -> int:
    """Runs one command and returns its exit code; every error becomes a sentence and hints."""
    as_json = "--json" in arguments
    try:
        result = app(arguments, prog_name="weightlock", standalone_mode=False)
        if result == INTERRUPTED:
            raise KeyboardInterrupt
        return result if isinstance(result, int) else 0
    except StatusRefusedError as error:
        print_error(error, as_json=False)  # The facts were printed with everything in them.
        return exit_code(error)
    except WeightlockError as error:
        print_error(error, as_json)
        return exit_code(error)
    except typer.Exit as done:
        return int(done.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        print_error(WeightlockError("interrupted", reason="interrupted"), as_json)
        return OTHER
    except BrokenPipeError:  # Whoever read our output has gone.
        raise
    except Exception as error:
        return _unexpected(error, as_json)


def _unexpected(error: Exception, as_json: bool) -> int:
    """Answers what no command answered: wrong usage, which typer finds, and defects."""
    format_message = getattr(error, "format_message", None)
    if callable(format_message):
        text = str(format_message()).strip().rstrip(".")
        print_error(UsageError(text[:1].lower() + text[1:], "weightlock --help lists the commands"), as_json)
        return USAGE
    if isinstance(error, MemoryError):
        print_error(WeightlockError("there is not enough memory", reason="out_of_memory"), as_json)
        return OTHER
    if isinstance(error, OSError):  # Our own files raise errors of their own; what is left is mostly standard output.
        detail = (error.strerror or str(error)).lower()
        print_error(StorageError(f"the system refused: {detail}"), as_json)
        return OTHER
    description = f"internal error: {type(error).__name__}"
    print_error(WeightlockError(description, "please report it, with the command that you gave"), as_json)
    return OTHER


if __name__ == "__main__":
    main()
