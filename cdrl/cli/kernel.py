"""The kernel that executes a notebook of `cdrl run`: IPython's own, but it ends with its parent."""

import os
import sys

from ipykernel import kernelapp

from cdrl.core.ending import end_with_parent

if __name__ == "__main__":
    sys.path.remove(os.getcwd())  # IPython adds it again, after its own imports
    end_with_parent(int(os.environ["JPY_PARENT_PID"]))
    kernelapp.launch_new_instance()
