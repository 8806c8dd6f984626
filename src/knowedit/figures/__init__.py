"""What the figures of all parts share: one style, files that are the same bytes every time, tables for notebooks."""

from knowedit.figures.saving import SUFFIXES, check_suffix, save

__all__ = ["SUFFIXES", "check_suffix", "save"]
