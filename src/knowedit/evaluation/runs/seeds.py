"""What is drawn for one record does not depend on the others, their order or the worker."""

from __future__ import annotations

import hashlib

import torch


def record_generator(seed: int, case_id: int, use: str = "") -> torch.Generator:
    """A new generator on the CPU, seeded by SHA-256 of the run's seed, the case id and the use."""
    text = f"{seed} {case_id} {use}".rstrip()
    return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(text.encode()).digest()[:7]))
