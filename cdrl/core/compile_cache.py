"""Where numba and torch keep what they compiled, on machines where they find no place themselves.

Numba takes the folder of the source file, else the user's cache folder, and fails where it can
write neither, as in a container whose installation and HOME are read-only. Torch names a folder by
the user's name, and cannot be imported where the user id has none, as in `docker run -u 12345`.
"""

import getpass
import os
import stat
import sys
import tempfile
from pathlib import Path

VARIABLE = "NUMBA_CACHE_DIR"
TORCH_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
PACKAGE = Path(__file__).resolve().parents[1]


def choose_compile_cache() -> str:
    """Name a private folder of temporary files where numba would find no place.

    Returns:
        The folder, also where a user named it; "" where numba finds a place by itself.
    """
    named = os.environ.get(VARIABLE, "")
    if named or _finds_place():
        return named
    folder = _private_folder()
    os.environ[VARIABLE] = folder  # processes that this one starts inherit it
    numba = sys.modules.get("numba")
    if numba is not None:
        numba.config.CACHE_DIR = folder
    return folder


def choose_torch_cache() -> None:
    """Name torch a private folder of temporary files where the user id has no name."""
    try:
        getpass.getuser()
    except (KeyError, OSError):  # OSError from Python 3.13 on
        os.environ.setdefault(TORCH_VARIABLE, _private_folder())


def _finds_place() -> bool:
    """Whether the user's cache can be written, or both this package's folder and the others'."""
    home_cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if is_writable(Path(home_cache)):
        return True
    others = Path(tempfile.__file__).parent
    for entry in sys.path:
        if entry.endswith("site-packages"):
            others = Path(entry)
    return is_writable(PACKAGE) and is_writable(others)


def is_writable(folder: Path) -> bool:
    """Whether something can be made in a folder, or in the one that it would be made in.

    Args:
        folder: need not exist.
    """
    places = (folder, *folder.parents)
    existing = next(place for place in places if os.path.lexists(place))
    try:
        with tempfile.TemporaryDirectory(prefix=".cdrl-", dir=existing):
            return True
    except OSError:  # permissions alone do not tell: root may do all, on a disk that is read-only
        return False


def _private_folder() -> str:
    """A folder of this user alone: what lies in it is executed."""
    folder = os.path.join(tempfile.gettempdir(), f"cdrl-numba-{os.getuid()}")
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        state = os.lstat(folder)
        is_private = stat.S_ISDIR(state.st_mode) and not stat.S_IMODE(state.st_mode) & 0o077
        if not is_private or state.st_uid != os.getuid():
            return tempfile.mkdtemp(prefix="cdrl-numba-")
    return folder
