"""Ranking by meaning: any sentence-transformers model, searched through FAISS. An extra."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

from mmspec.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence


class Dense:
    """Cosine of embeddings, found exactly: a document has thousands of passages, not billions.

    Args:
        model: a folder or hub id of a sentence-transformers model, or one that is loaded.
        least: cosines below are not near at all; RAPID's 0.3.
        gpu: index of the GPU that searches; None: the CPU does. Needs the extra ``faiss-gpu``.
        batch: passages embedded at a time.

    Raises:
        ConfigError: an extra is not installed, or there is no such model.
    """

    def __init__(
        self, model: Any, least: float = 0.3, gpu: int | None = None, batch: int = 32
    ) -> None:
        self._faiss = needed("faiss", "faiss" if gpu is None else "faiss-gpu")
        self._model = load(model) if isinstance(model, str) else model
        self._least = least
        self._gpu = gpu
        self._batch = batch

    def read(self, passages: Sequence[str]) -> DenseRanking:
        """Embed passages and index them."""
        rows = self.embed(list(passages))
        index = self._faiss.IndexFlatIP(rows.shape[1])
        if self._gpu is not None:
            resources = self._faiss.StandardGpuResources()
            index = self._faiss.index_cpu_to_gpu(resources, self._gpu, index)
        index.add(rows)
        return DenseRanking(self, index, len(rows), self._least)

    def embed(self, texts: list[str]) -> np.ndarray:
        """Embeddings of unit length, float32 [N, H]."""
        rows = self._model.encode(
            texts, batch_size=self._batch, normalize_embeddings=True, show_progress_bar=False
        )
        return np.ascontiguousarray(rows, np.float32)


class DenseRanking:
    """Embedded passages."""

    def __init__(self, dense: Dense, index: Any, count: int, least: float) -> None:
        self._dense = dense
        self._index = index
        self._count = count
        self._least = least

    def scores(self, question: str) -> np.ndarray:
        """Cosine of each passage, float32 [P]; 0 where it is less than ``least``."""
        found, places = self._index.search(self._dense.embed([question]), self._count)
        scores = np.zeros(self._count, np.float32)
        scores[places[0]] = np.where(found[0] >= self._least, found[0], 0.0)
        return scores


def ranker(detail: str) -> Dense:
    """The ranker ``dense:MODEL``.

    Raises:
        ConfigError: no model is named, an extra is not installed, or there is no such model.
    """
    if not detail:
        raise ConfigError("ranker dense: say which sentence-transformers model, as dense:MODEL")
    return Dense(detail)


def load(model: str) -> Any:
    """A sentence-transformers model.

    Raises:
        ConfigError: the extra is not installed, or there is no such model.
    """
    library = needed("sentence_transformers", "dense")
    try:
        return library.SentenceTransformer(model)
    except (OSError, ValueError) as error:
        raise ConfigError(f"no sentence-transformers model at {model}: {error}") from error


def needed(module: str, extra: str) -> Any:
    """A module of an extra.

    Raises:
        ConfigError: it is not installed; says how to.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(f"dense ranking needs {module}: pip install 'mmspec[{extra}]'") from error
