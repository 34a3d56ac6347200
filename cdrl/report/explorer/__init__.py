"""Two linked maps of a run's frames, content and emotion: in a notebook, as one HTML page, and as a plain figure.

`explore(run)` is the widget where a person sits before the notebook and its static twin where nobody does;
`write_page(run, path)` puts the same maps, faces and clips into one file that needs neither Python nor a network.
"""

from cdrl.report.explorer.atlas import Atlas, nearest_of_groups, read_atlas
from cdrl.report.explorer.page import explore, neighbour_figure, static_figure, write_page

__all__ = [
    "Atlas",
    "explore",
    "nearest_of_groups",
    "neighbour_figure",
    "read_atlas",
    "static_figure",
    "write_page",
]
