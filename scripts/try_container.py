"""Do the Dockerfile's steps in a folder, without docker, and try them as another user id.

    sudo python scripts/try_container.py FOLDER

What is committed is installed under the folder, and closed to writing. Then a user id that owns
nothing, with an empty environment, runs doctor, one edit, the smallest run and the unit tests. It
needs root, for that user id, and ends with the first step that fails. Where the default Python lies
in a folder that others cannot enter, put another in front: PYTHON=/usr/bin/python3.11.
"""

import argparse
import os
import re
import shlex
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
USER_ID = 12345  # owns no file
PLACES = ("/opt/cdrl", "/out")  # folders of the image
NEEDS_THE_IMAGE = "apt-get"  # steps that change the system
UNIT_TESTS = "not slow and not notebook and not browser and not gpu"
TRIALS = (
    "cdrl doctor",
    "cdrl edit /opt/cdrl/data/samples/1001_DFA_NEU_XX.flv happy --from neutral --out /out/h.mp4",
    "cdrl run --preset smoke --out /out/smoke",
    "mkdir kit && tar -c -C /opt/cdrl --exclude=./.venv . | tar -x -C kit && chmod -R u+w kit",
    f"cd kit && python -m pytest -q -n 2 -p no:cacheprovider -m '{UNIT_TESTS}'",
)


def instructions(text: str) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile.

    Args:
        text: of the file.

    Returns:
        (name, rest of the line) of each.
    """
    joined = text.replace("\\\n", " ")
    lines = [line for line in joined.splitlines() if line and not line.startswith("#")]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def inside(text: str, folder: Path) -> str:
    """Put the folders of the image under another one.

    Args:
        text: a command or a value.
        folder: of the trial.
    """
    for place in PLACES:
        text = re.sub(rf"(?<![\w/.]){re.escape(place)}\b", f"{folder}{place}", text)
    return text


def install(folder: Path) -> dict[str, str]:
    """Do the steps of the Dockerfile.

    Args:
        folder: of the trial.

    Returns:
        The variables that it sets.
    """
    variables: dict[str, str] = {}
    working_folder = folder
    for name, rest in instructions((ROOT / "Dockerfile").read_text()):
        if name == "COPY":
            copy_committed(folder / "opt/cdrl")
        elif name == "WORKDIR":
            working_folder = Path(inside(rest, folder))
            working_folder.mkdir(parents=True, exist_ok=True)
        elif name == "ENV":
            variable, _, value = rest.partition("=")
            variables[variable] = inside(value, folder).replace("$PATH", os.environ["PATH"])
        elif name == "RUN" and NEEDS_THE_IMAGE not in rest:
            run(inside(rest, folder), working_folder)

    return variables


def copy_committed(target: Path) -> None:
    """Copy what is committed.

    Args:
        target: a new folder.
    """
    target.mkdir(parents=True)
    archive = subprocess.Popen(["git", "archive", "HEAD"], cwd=ROOT, stdout=subprocess.PIPE)
    subprocess.run(["tar", "-x"], cwd=target, stdin=archive.stdout, check=True)


def run(command: str, working_folder: Path, **options: object) -> None:
    """Run a step, and say how long it took.

    Args:
        command: for sh.
        working_folder: where.
        options: of `subprocess.run`.
    """
    print(f"$ {command}", flush=True)
    start = time.monotonic()
    subprocess.run(["sh", "-c", command], cwd=working_folder, check=True, **options)
    print(f"({time.monotonic() - start:.0f} s)", flush=True)


def try_as_stranger(folder: Path, variables: dict[str, str]) -> None:
    """Run the trials as a user id that owns nothing but the working folder.

    Args:
        folder: of the trial.
        variables: the whole environment.
    """
    out = folder / "out"
    home = folder / "home"
    home.mkdir()
    for owned in (out, home):
        os.chown(owned, USER_ID, USER_ID)
    environment = variables | {"HOME": str(home), "TMPDIR": str(home)}
    for trial in TRIALS:
        options = {"env": environment, "user": USER_ID, "group": USER_ID, "extra_groups": []}
        run(inside(trial, folder), out, **options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a new folder that every user can enter")
    folder = parser.parse_args().folder.resolve()
    folder.mkdir(parents=True)
    print(f"into {shlex.quote(str(folder))}", flush=True)
    try_as_stranger(folder, install(folder))


if __name__ == "__main__":
    main()
