"""Seeds of records: what is drawn for one does not depend on the others, their order or the worker."""

from __future__ import annotations

import hashlib

import torch


def record_seed(seed: int, case_id: int, use: str = "") -> int:
    """The seed of one record's generator, from SHA-256 of the run's seed, the case id and the use."""
    text = f"{seed} {case_id} {use}".rstrip()
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7])


def record_generator(seed: int, case_id: int, use: str = "") -> torch.Generator:
    """A new generator on the CPU with that seed."""
    return torch.Generator().manual_seed(record_seed(seed, case_id, use))
