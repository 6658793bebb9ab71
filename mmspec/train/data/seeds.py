"""Seeds: train and held-out examples never share one, and every example has its own generator."""

import hashlib
import random
from typing import Literal

Split = Literal["train", "held_out"]


def example_seed(split: Split, index: int) -> int:
    """Seed of the `index`-th example (index >= 0): even for training, odd for held-out."""
    if index < 0:
        raise ValueError(f"an example index is never negative, got {index}")
    return 2 * index + (split == "held_out")


def generator(seed: int, purpose: str) -> random.Random:
    """A generator keyed by (seed, purpose), so that two purposes of one seed are independent."""
    digest = hashlib.blake2b(f"{purpose}:{seed}".encode(), digest_size=8).digest()
    return random.Random(int.from_bytes(digest, "little"))
