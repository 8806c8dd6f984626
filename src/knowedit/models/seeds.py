"""A seed in place of a generator."""

from __future__ import annotations

import torch

from knowedit.errors import InputError


def generator_from(generator: torch.Generator | None, seed: int | None) -> torch.Generator | None:
    """The generator of a call that takes either: itself, or a new one on the CPU that starts at ``seed``.

    Args:
        generator: moved on by what is drawn from it.
        seed: the same draws in every call.

    Returns:
        A generator, or None if neither was given.

    Raises:
        InputError: both were given, or a seed that is not an integer from -2**63 to 2**64 - 1.
    """
    if seed is None:
        return generator
    if generator is not None:
        raise InputError(
            "generator and seed were both given: a seed stands for a generator, so give one of them"
        )
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise InputError(f"the seed is {seed!r}, expected an integer: give seed=0, or a generator")
    try:
        return torch.Generator().manual_seed(seed)
    except (ValueError, RuntimeError, OverflowError) as problem:
        raise InputError(f"the seed is {seed}, expected -2**63 to 2**64 - 1: give a smaller one") from problem
