"""What the figures of all parts share: one style, and files that are the same bytes every time."""

from knowedit.figures.saving import SUFFIXES, check_suffix, save

__all__ = ["SUFFIXES", "check_suffix", "save"]
