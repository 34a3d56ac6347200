"""The kernel that executes a notebook of `cdrl run`: IPython's own, but it ends with its parent."""

import os
import sys
from collections.abc import Sequence

from cdrl.core.ending import end_with_parent


def run_kernel(arguments: Sequence[str]) -> None:
    """Run a kernel until it is asked to end.

    Args:
        arguments: of ipykernel. JPY_PARENT_PID is the process that it ends with.
    """
    end_with_parent(int(os.environ["JPY_PARENT_PID"]))

    from ipykernel import kernelapp

    kernelapp.launch_new_instance(argv=list(arguments))


if __name__ == "__main__":
    sys.path.remove(os.getcwd())  # IPython adds it again, after its own imports
    run_kernel(sys.argv[1:])
