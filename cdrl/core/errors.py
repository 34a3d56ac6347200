"""The one exception that a user is meant to read."""


class InputError(ValueError):
    """A value or a file of the user that cannot be used.

    The message is one line: what was wrong, in which file or value, what is accepted, how to mend
    it. The command line prints it without a traceback and exits with status 2.
    """


def printable(text: str) -> str:
    """Return a text with everything escaped that a terminal obeys or cannot print.

    Args:
        text: with names of files and people, which strangers chose.

    >>> printable("a" + chr(27) + "[2J")
    'a\\\\x1b[2J'
    """
    shown = []
    for character in text:
        is_shown = character.isprintable()
        shown.append(character if is_shown else character.encode("unicode_escape").decode())
    return "".join(shown)
