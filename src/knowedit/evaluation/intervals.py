"""The intervals of `knowedit.intervals`, which tracing needs as well, under their name here."""

from knowedit.intervals import LEVEL, RESAMPLES, Interval, bootstrap, paired, wilson

__all__ = ["LEVEL", "RESAMPLES", "Interval", "bootstrap", "paired", "wilson"]
