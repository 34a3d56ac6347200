"""The console command `cdrl`: reads the arguments, runs one command, reports errors in one line."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, NoReturn

from cdrl.cli.commands import COMMANDS, GROUPS
from cdrl.core.ending import Stopped, stopped_by_signals
from cdrl.core.errors import FULL_DISK_LINE, InputError, printable, tells_full_disk

UNUSABLE_INPUT = 2
SIGNALLED = 128  # a status above is that of a signal, as shells count it
INTERRUPTED = 130  # by Ctrl-C

CommandFunction = Callable[[argparse.Namespace], int | None]


def main(words: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        words: as in ["run", "--preset", "smoke"]; None for the process's own.

    Returns:
        Exit status: 0; 1 for a fault of the kit; 2 for input that cannot be used, with the reason
        in one line on stderr; 130 for Ctrl-C, 143 for TERM, 129 for HUP.
    """
    try:
        _refuse_empty_words(sys.argv[1:] if words is None else words)
        arguments = build_parser().parse_args(words)
        command = arguments.command
        if command.check:
            load_function(command.check)(arguments)
        function = load_function(command.function)
        with stopped_by_signals():
            return function(arguments) or 0
    except InputError as error:
        print(f"cdrl: {printable(str(error))}", file=sys.stderr)
        return UNUSABLE_INPUT
    except Stopped as stop:
        _say_interrupted()
        return stop.status
    except KeyboardInterrupt:
        _say_interrupted()
        return INTERRUPTED
    except BrokenPipeError:  # `cdrl scores RUN | head`
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        return 0
    except Exception as error:
        if not tells_full_disk(error):
            raise
        name = getattr(error, "filename", None)
        place = f"{printable(str(name))}: " if name else ""
        print(f"cdrl: {place}{FULL_DISK_LINE}", file=sys.stderr)
        return UNUSABLE_INPUT


def _say_interrupted() -> None:
    """Say that nothing is lost; a terminal that was closed does not hear it."""
    with suppress(OSError):
        print("cdrl: interrupted; the same command goes on from here", file=sys.stderr)


def _refuse_empty_words(words: Sequence[str]) -> None:
    """Refuse an empty text, such as `--out ''`: an unset variable of a shell, never a default.

    Raises:
        InputError: names the option that the text belongs to.
    """
    before = ""
    for word in words:
        option, equals, value = word.partition("=")
        is_empty_option = bool(equals) and option.startswith("--") and not value.strip()
        if is_empty_option or not word.strip():
            name = option if is_empty_option else before
            text = value if is_empty_option else word
            raise InputError(
                f"{name} {text!r}: an empty text says nothing; give a value, or leave it out "
                "for the default"
            )
        before = word


def load_function(name: str) -> CommandFunction:
    """Import a function of a command.

    Args:
        name: "module:function".
    """
    module, _, function = name.partition(":")
    return getattr(import_module(module), function)


class _OneLineParser(argparse.ArgumentParser):
    """Reports a word that it cannot read as every other bad input is reported."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see {self.prog} --help)")


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; the parsed `command` is an entry of `COMMANDS`."""
    description = "Edit the emotion of talking heads: CCRL, CERL, SPFEM."
    parser = _OneLineParser(prog="cdrl", description=description)
    subparsers: dict[tuple[str, ...], Any] = {}
    subparsers[()] = parser.add_subparsers(required=True, metavar="COMMAND")

    for command in COMMANDS:
        *group, name = command.words
        parent = tuple(group)
        if parent not in subparsers:
            group_parser = subparsers[()].add_parser(parent[0], help=GROUPS[parent[0]])
            subparsers[parent] = group_parser.add_subparsers(required=True, metavar="ACTION")
        command_parser = subparsers[parent].add_parser(name, help=command.help)
        command_parser.set_defaults(command=command)
        for argument in command.arguments:
            command_parser.add_argument(*argument.names, **argument.settings)

    return parser


def run_and_exit() -> None:
    """Run the command of this process, and end the process.

    After a signal it ends at once: Python would wait for threads, and tidy up for seconds. While
    modules are loaded nothing can be lost, so Ctrl-C then ends it as TERM and HUP do; Python would
    wait until a library is loaded.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    status = main()
    if status > SIGNALLED:
        sys.stdout.flush()
        os._exit(status)
    sys.exit(status)


if __name__ == "__main__":
    run_and_exit()
