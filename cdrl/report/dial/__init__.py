"""A source clip beside its edit, with emotion, intensity and a curve over time to turn: in a notebook and as one HTML page.

`dial(run)` is the widget where a person sits before the notebook and its static twin where nobody does;
`write_page(run, path)` writes a file that needs neither Python nor a network.
"""

from cdrl.report.dial.page import dial, static_twin, write_page
from cdrl.report.dial.session import Session

__all__ = ["Session", "dial", "static_twin", "write_page"]
