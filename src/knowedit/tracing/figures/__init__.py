"""Figures like the paper's, drawn with matplotlib, which is imported when one is drawn and not before."""

from knowedit.figures import SUFFIXES, save
from knowedit.tracing.figures.detail import detail
from knowedit.tracing.figures.heat import heat_map
from knowedit.tracing.figures.lines import average_lines
from knowedit.tracing.figures.severing import severing

__all__ = [
    "SUFFIXES",
    "average_lines",
    "detail",
    "heat_map",
    "save",
    "severing",
]
