"""The one exception that a user is meant to read."""


class InputError(ValueError):
    """A value or a file of the user that cannot be used.

    The message is one line: what was wrong, in which file or value, what is accepted, how to mend
    it. The command line prints it without a traceback and exits with status 2.
    """
