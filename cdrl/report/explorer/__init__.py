"""Two linked maps of a run's frames: in a notebook, as one HTML page, and as a plain figure.

`explore(run)` is the widget where a browser is in front of the notebook, else a plain figure;
`write_page(run, path)` puts the same maps, faces and clips into one file that needs neither Python
nor a network.
"""

from cdrl.report.explorer.atlas import Atlas, nearest_of_groups, read_atlas
from cdrl.report.explorer.page import write_page
from cdrl.report.explorer.show import explore
from cdrl.report.explorer.static import neighbour_figure, static_figure

__all__ = [
    "Atlas",
    "explore",
    "nearest_of_groups",
    "neighbour_figure",
    "read_atlas",
    "static_figure",
    "write_page",
]
