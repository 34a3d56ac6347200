"""The one exception that a user is meant to read, and what its line may hold."""

import errno
import re

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What libraries say who give no number: the system's own words, NumPy's and PyTorch's.
FULL_DISK_WORDS = re.compile(
    r"No space left on device|Disk quota exceeded|File too large"
    r"|\d+ requested and \d+ written|file write failed"
)
FULL_DISK_LINE = "no space is left on the disk; free some space and run the same again"


class InputError(ValueError):
    """A value or a file of the user that cannot be used.

    The message is one line: what was wrong, in which file or value, what is accepted, how to mend
    it. The command line prints it without a traceback and exits with status 2. What a terminal
    obeys in it, a line break in a name too, is escaped.

    Args:
        lines: the message; several where several things are missing at once.
    """

    def __init__(self, *lines: object) -> None:
        super().__init__(*(printable(str(line)) for line in lines))

    def __str__(self) -> str:
        return "\n".join(self.args)


def printable(text: str) -> str:
    r"""Return a text with everything escaped that a terminal obeys or cannot print.

    Args:
        text: with names of files and people, which strangers chose.

    >>> printable("a" + chr(27) + "[2J")
    'a\\x1b[2J'
    """
    shown = []
    for character in text:
        is_shown = character.isprintable()
        shown.append(character if is_shown else character.encode("unicode_escape").decode())
    return "".join(shown)


def tells_full_disk(error: BaseException) -> bool:
    """Whether an error of any library means that no more can be written.

    Args:
        error: that writing a file has raised.
    """
    if isinstance(error, OSError) and error.errno in FULL_DISK:
        return True
    return bool(FULL_DISK_WORDS.search(str(error)))
