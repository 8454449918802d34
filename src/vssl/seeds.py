"""Randomness as an argument: a generator is a pure function of what it is for."""

import hashlib

import torch


def seed_of(*parts: int | str) -> int:
    """A 63-bit seed from any mix of numbers and names; the same on every machine and Python version."""
    text = "\x1f".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def seeded(*parts: int | str) -> torch.Generator:
    """A fresh CPU generator for exactly these parts, for example `seeded(seed, epoch, row, copy, "plan")`."""
    return torch.Generator().manual_seed(seed_of(*parts))
