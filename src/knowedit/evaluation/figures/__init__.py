"""Figures of evaluations, drawn with matplotlib, which is imported when one is drawn and not before.

Nothing else of the evaluation imports this package, so scores do not depend on how they are drawn.
"""

from knowedit.evaluation.figures.histograms import distributions
from knowedit.evaluation.figures.settings_lines import sweep_lines
from knowedit.evaluation.figures.table_bars import bars
from knowedit.figures import SUFFIXES, check_suffix, save

__all__ = ["SUFFIXES", "bars", "check_suffix", "distributions", "save", "sweep_lines"]
