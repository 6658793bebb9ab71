"""Stage 0: teach the vision tower, per patch, what stands there and where the patch is.

Without it a language model trained from scratch never learns to look: the labels include each
patch's own row and column, because later layers must be able to address places.
"""

import copy
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from mmspec.train.data import pictures
from mmspec.train.data.pictures import CHARACTERS, COLOURS, GRID, SHAPES, SIZES, Facts
from mmspec.train.data.seeds import example_seed
from mmspec.train.loop import StepLoss

LABELS: dict[str, int] = {
    "colour": 1 + len(COLOURS),
    "thing": 1 + len(SHAPES) + 1 + len(CHARACTERS),
    "size": 1 + len(SIZES) + 5,
    "row": GRID,
    "column": GRID,
    "background": len(pictures.BACKGROUNDS),
}


def patch_labels(facts: Facts) -> np.ndarray:
    """Class of every patch for every label: int64 [36, len(LABELS)], patches in reading order."""
    labels = np.zeros((GRID, GRID, len(LABELS)), dtype=np.int64)
    colours = list(COLOURS)
    labels[..., 3] = np.arange(GRID)[:, None]
    labels[..., 4] = np.arange(GRID)
    labels[..., 5] = list(pictures.BACKGROUNDS).index(facts.background)
    for thing in facts.things:
        row, column = 2 * (thing.cell // 3), 2 * (thing.cell % 3)
        what = (colours.index(thing.colour), SHAPES.index(thing.shape), SIZES.index(thing.size))
        labels[row : row + 2, column : column + 2, :3] = np.array(what) + 1
    for bar in facts.bars:
        what = (1 + colours.index(bar.colour), 1 + len(SHAPES), len(SIZES) + bar.height)
        labels[:, bar.column, :3] = what
    for place, character in enumerate(facts.word):
        drawn = (
            1 + colours.index(facts.word_colour),
            2 + len(SHAPES) + CHARACTERS.index(character),
        )
        labels[facts.word_row, facts.word_column + place, :2] = drawn
    return labels.reshape(GRID * GRID, len(LABELS))


def pixels(images: Sequence[Image.Image]) -> Tensor:
    """Pictures as the processor gives them: fp32 [B, 3, 96, 96] in -1..1."""
    return scaled(torch.from_numpy(np.stack([np.asarray(image) for image in images])))


def scaled(stack: Tensor) -> Tensor:
    """The same of uint8 [B, 96, 96, 3]."""
    return stack.permute(0, 3, 1, 2).float().contiguous() / 127.5 - 1.0


class Dense(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Steps, pictures a step, learning rate, and which pictures come in turn.

    `busy` is the weight of a patch on which something stands; an empty one weighs 1. `anchor` is
    the weight of staying near the features that the tower gives before the stage, wherever no
    character stands: what reads them need not learn them anew.
    """

    steps: int
    batch: int
    rate: float
    draws: tuple[str, ...] = ("scene", "scene", "chart", "word")
    busy: float = 1.0
    anchor: float = 0.0


class DenseStage:
    """Trains a CLIP vision tower and throw-away linear heads on per-patch labels."""

    def __init__(self, name: str, tower: Any, asked: Dense) -> None:
        self.name, self.steps, self._asked = name, asked.steps, asked
        width = tower.config.hidden_size
        heads = nn.Linear(width, sum(LABELS.values()), dtype=tower.dtype)
        self._module = nn.ModuleDict({"tower": tower, "heads": heads})
        tower.set_attn_implementation("eager")  # 37 tokens: four times as fast backwards
        self._before = copy.deepcopy(tower).eval() if asked.anchor else None

    def module(self) -> nn.Module:
        """Tower and heads."""
        return self._module

    def trained(self) -> dict[str, nn.Parameter]:
        """Everything but the class token's path into the last norm, which no one reads."""
        return dict(self._module.named_parameters())

    def rate(self, step: int) -> float:
        """Warm-up over 50 steps, then a straight line to a twentieth."""
        return self._asked.rate * min((step + 1) / 50, 1 - 0.95 * step / self.steps)

    def loss(self, step: int) -> StepLoss:
        """Sum of the cross-entropies of all labels over one batch of mixed pictures."""
        batch = self._asked.batch
        drawn = [self._picture(step * batch + k) for k in range(batch)]
        tower: Any = self._module["tower"]
        heads = self._module["heads"]
        values = pixels([image for image, _ in drawn]).to(tower.dtype)
        hidden = tower(values, output_hidden_states=True).hidden_states[-1][:, 1:]
        scores = heads(hidden).float().flatten(0, 1)
        truth = torch.from_numpy(np.concatenate([patch_labels(facts) for _, facts in drawn]))
        total, metrics = scores.new_zeros(()), {}
        busy = truth[:, 0] > 0
        weight = torch.where(busy, self._asked.busy, 1.0)
        weight = weight / weight.sum()
        for place, (label, part) in enumerate(
            zip(LABELS, scores.split(list(LABELS.values()), dim=1), strict=True)
        ):
            each = nn.functional.cross_entropy(part, truth[:, place], reduction="none")
            total = total + (each * weight).sum()
            right = part.argmax(1) == truth[:, place]
            metrics[label] = float(right[busy].float().mean())
        if self._before is not None:
            still = truth[:, 1] <= len(SHAPES) + 1
            drift = self._drift(self._before, values, hidden.flatten(0, 1), still)
            total, metrics["drift"] = total + self._asked.anchor * drift, float(drift.detach())
        return StepLoss(total, truth.shape[0], metrics)

    @staticmethod
    def _drift(before: Any, values: Tensor, hidden: Tensor, still: Tensor) -> Tensor:
        """Squared change of the features of the patches in `still`, over their variance."""
        with torch.no_grad():
            old = before(values, output_hidden_states=True).hidden_states[-1][:, 1:]
        old = old.flatten(0, 1)[still].float()
        return (hidden[still].float() - old).pow(2).mean() / old.var(0).mean()

    def _picture(self, index: int) -> pictures.Picture:
        draws = self._asked.draws
        return _DRAWS[draws[index % len(draws)]](example_seed("train", index))


_DRAWS = {"scene": pictures.scene, "chart": pictures.chart, "word": pictures.word}
