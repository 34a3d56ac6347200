"""Contrastive decoupled representation learning for talking heads.

`from cdrl import Guidance` gives the supervision for a generator of your own. `import cdrl` alone
loads nothing heavy.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    """Import `Guidance` on its first use."""
    if name == "Guidance":
        from cdrl.representation.guidance import Guidance

        return Guidance
    raise AttributeError(f"module 'cdrl' has no attribute {name!r}")
