"""The served law written the slow way, in float64, straight from its definition."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mmspec.core.request import Sampling


def served(
    row: np.ndarray, sampling: Sampling, context: list[int], prompt: int, stops: frozenset[int]
) -> np.ndarray:
    """Probabilities float64 [V] after ``context``, whose first ``prompt`` tokens are the prompt."""
    scores = row.astype(np.float64)
    output = context[prompt:]
    for token in set(context):
        factor = sampling.repetition_penalty
        scores[token] = scores[token] / factor if scores[token] > 0 else scores[token] * factor
    for token in set(output):
        scores[token] -= sampling.presence_penalty
        scores[token] -= sampling.frequency_penalty * output.count(token)
    for token, bias in sampling.logit_bias.items():
        scores[token] += bias
    for word in sampling.bad_words:
        start = len(context) - (len(word) - 1)
        if start >= 0 and tuple(context[start:]) == word[:-1]:
            scores[word[-1]] = -np.inf
    if len(output) < sampling.min_tokens:
        scores[list(stops)] = -np.inf
    if sampling.temperature == 0:
        return (np.arange(len(row)) == np.argmax(scores)).astype(np.float64)
    scores = scores / sampling.temperature
    if 0 < sampling.top_k < len(row):
        scores[scores < np.sort(scores)[-sampling.top_k]] = -np.inf
    chances = np.exp(scores - scores.max())
    chances /= chances.sum()
    order = sorted(range(len(row)), key=lambda token: (-scores[token], token))
    mass = 0.0
    for token in order:
        if mass >= sampling.top_p:
            chances[token] = 0.0
        mass += chances[token]
    chances[chances < sampling.min_p * chances.max()] = 0.0
    return chances / chances.sum()
