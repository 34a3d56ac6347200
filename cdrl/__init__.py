"""Contrastive decoupled representation learning for talking heads.

`from cdrl import Guidance` is all that a generator of one's own needs; `import cdrl` alone loads nothing heavy.
"""


def __getattr__(name: str):
    if name == "Guidance":
        from cdrl.representation.guidance import Guidance

        return Guidance
    raise AttributeError(f"module 'cdrl' has no attribute {name!r}")
