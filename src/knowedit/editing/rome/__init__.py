"""ROME: rank-one model editing (Section 4)."""
