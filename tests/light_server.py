"""The process that forks kernels, with what each kernel needs and nothing of the stages.

It begins in two seconds, `cdrl.cli.kernel_server` in eight.
"""

import sys

from cdrl.cli import kernel_server

NAME = "tests.light_server"  # from the root of the repository, where it is started

if __name__ == "__main__":
    kernel_server.FIRST_MODULES = ("ipykernel.kernelapp", "ipykernel.ipkernel", "torch")
    kernel_server.LATER_MODULES = ()
    kernel_server.main(int(sys.argv[1]), int(sys.argv[2]))
