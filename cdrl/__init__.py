"""Contrastive decoupled representation learning for talking heads.

`cdrl.load`, `cdrl.embed`, `cdrl.edit` and `cdrl.scores` are the interface; `Guidance` supervises a
generator of your own. `import cdrl` alone loads nothing heavy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cdrl.core.compile_cache import choose_compile_cache, choose_torch_cache

if TYPE_CHECKING:
    from cdrl.api import edit, embed, load, scores
    from cdrl.representation.guidance import Guidance

    __version__: str

__all__ = ["Guidance", "__version__", "edit", "embed", "load", "scores"]

# Public name -> the module that has it.
_MODULES = {
    "Guidance": "cdrl.representation.guidance",
    "edit": "cdrl.api",
    "embed": "cdrl.api",
    "load": "cdrl.api",
    "scores": "cdrl.api",
}


choose_compile_cache()  # before anything imports numba
choose_torch_cache()  # before anything imports torch


def __getattr__(name: str) -> Any:
    """Import a public name on its first use."""
    if name == "__version__":
        from importlib.metadata import version

        return version("cdrl")
    if name not in _MODULES:
        raise AttributeError(f"module 'cdrl' has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Name what is public, for completion."""
    return sorted(__all__)
