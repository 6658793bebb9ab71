"""Places said aloud: the projector is given a clean code of where each patch is.

Trained from scratch the projector keeps colours and shapes and drops rows and columns to one or
two hundredths of its variance, and a language model that cannot address places learns a bag of
attributes. The projector's last layer is therefore given, by ridge regression from its own hidden
layer, one direction for each row, column and cell. It is an initialisation: training goes on.
"""

import numpy as np
import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from mmspec.train.data import pictures
from mmspec.train.dense import pixels

LOUDNESS = 0.4  # size of each part of the code, relative to the features
SAMPLE = 192  # pictures to fit on
TAKEN = 48  # feature directions that the code keeps away from


@torch.no_grad()
def install(model: LlavaForConditionalGeneration) -> None:
    """Add the code to the projector, in place."""
    inner = model.model
    draws = (pictures.scene, pictures.scene, pictures.chart, pictures.word)
    images = pixels([draws[seed % 4](seed)[0] for seed in range(SAMPLE)]).to(model.dtype)
    seen = inner.vision_tower(images, output_hidden_states=True).hidden_states[-1][:, 1:]
    projector = inner.multi_modal_projector
    hidden = projector.act(projector.linear_1(seen)).float().flatten(0, 1)
    features = projector(seen).float().flatten(0, 1)
    truth = _places().repeat(SAMPLE, 1)
    weight, bias = _regress(hidden, truth)
    directions = _free_directions(features, model.get_input_embeddings().weight.float())
    loud = LOUDNESS * features.norm(dim=1).mean()
    code = directions[:, : truth.shape[1]] * loud
    projector.linear_2.weight += (code @ weight.T).to(model.dtype)
    projector.linear_2.bias += (code @ bias).to(model.dtype)


def _places() -> Tensor:
    """Row, column and cell of every patch as centred one-hots: float32 [36, 6 + 6 + 9]."""
    side = np.arange(pictures.GRID)
    row, column = (part.reshape(-1) for part in np.meshgrid(side, side, indexing="ij"))
    cell = row // 2 * 3 + column // 2
    parts = [np.eye(6)[row], np.eye(6)[column], np.eye(9)[cell]]
    hot = torch.from_numpy(np.concatenate(parts, axis=1)).float()
    return hot - hot.mean(0)


def _regress(inputs: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Ridge regression: weight [I, O] and bias [O]."""
    centre = inputs.mean(0)
    centred = inputs - centre
    ridge = 1e-3 * float(centred.pow(2).sum(0).mean()) * torch.eye(inputs.shape[1])
    weight = torch.linalg.solve(centred.T @ centred + ridge, centred.T @ outputs)
    return weight, -centre @ weight


def _free_directions(features: Tensor, embedding: Tensor) -> Tensor:
    """Orthonormal columns within what embeddings span, away from the features' main directions."""
    _, _, tokens = torch.linalg.svd(embedding - embedding.mean(0), full_matrices=False)
    _, _, main = torch.linalg.svd(features - features.mean(0), full_matrices=False)
    taken = main[:TAKEN]
    spanned = tokens[: embedding.shape[1] // 2 - 1].T
    free = spanned - taken.T @ (taken @ spanned)
    left, sizes, _ = torch.linalg.svd(free, full_matrices=False)
    return left[:, torch.argsort(sizes, descending=True)]
