"""The kernel that executes a notebook of `cdrl run`: IPython's own, but it ends with its parent."""

import os
import sys

from cdrl.core.ending import end_with_parent

if __name__ == "__main__":
    end_with_parent(int(os.environ["JPY_PARENT_PID"]))
    sys.path.remove(os.getcwd())  # IPython adds it again, after its own imports

    from ipykernel import kernelapp

    kernelapp.launch_new_instance()
