"""A source clip beside its edit, with controls for emotion, intensity and intensity over time.

`dial(run)` is the widget where a browser is in front of the notebook, else HTML that works without
a kernel; `write_page(run, path)` writes a file that needs neither Python nor a network.
"""

from cdrl.report.dial.page import static_dial, write_page
from cdrl.report.dial.session import Session
from cdrl.report.dial.show import dial

__all__ = ["Session", "dial", "static_dial", "write_page"]
