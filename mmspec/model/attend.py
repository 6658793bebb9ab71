"""The one attention function, registered once; every model reaches the kernels through it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mmspec_kernels.attention import chunk_attention, tree_attention
from mmspec_kernels.layout import ChunkLayout, Reading, TreeLayout
from transformers import AttentionInterface

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

NAME = "mmspec"
Read = Callable[[int | None], Reading]
Look = Callable[[int, "torch.Tensor", float, int | None], None]
# What transformers passes to every attention function besides what we use. Unknown names are
# refused: the models hand any keyword through silently, so a typo would otherwise go unnoticed.
_KNOWN = frozenset(
    {"dropout", "position_ids", "use_cache", "cu_seq_lens_q", "cu_seq_lens_k", "max_length_q",
     "max_length_k", "is_causal", "return_dict", "cache_position", "position_embeddings"}
)  # fmt: skip


class Step:
    """One forward pass as attention sees it: the store, the layout, and readings by layer kind.

    Args:
        read: what tree rows read on layers of a sliding width; None: all that such layers see.
        look: is shown what tree rows ask on every layer: its number, their queries
            [Hkv, T, G, D], the scale of their products with keys, the layer's sliding width.
    """

    __slots__ = ("_read", "_readings", "layout", "look", "store")

    def __init__(
        self,
        store: torch.Tensor,
        layout: TreeLayout | ChunkLayout,
        read: Read | None = None,
        look: Look | None = None,
    ) -> None:
        self.store = store
        self.layout = layout
        self._read, self.look = read, look
        self._readings: dict[int | None, Reading] = {}

    @property
    def is_chunk(self) -> bool:
        """Whether this pass is prefill."""
        return isinstance(self.layout, ChunkLayout)

    def reading(self, sliding: int | None) -> Reading:
        """What rows read on layers with this sliding width, worked out once a step."""
        found = self._readings.get(sliding)
        if found is None:
            assert isinstance(self.layout, TreeLayout)
            read = self._read or self.layout.reading
            found = self._readings[sliding] = read(sliding)
        return found


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    step: Step,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **rest: Any,
) -> tuple[torch.Tensor, None]:
    """Attention for ``transformers``: query [G, Hq, R, D], key and value [G, Hkv, R, D].

    Returns:
        The output [G, R, Hq, D] and no weights.
    """
    _refuse_unknown(rest, attention_mask)
    groups, heads, rows, dim = query.shape
    scale = dim**-0.5 if scaling is None else scaling
    q, k, v = (
        part.transpose(1, 2).reshape(groups * rows, -1, dim).contiguous()
        for part in (query, key, value)
    )
    store = step.store[module.layer_idx]
    if isinstance(step.layout, ChunkLayout):
        out = chunk_attention(q, k, v, store, step.layout, sliding_window, scale)
    else:
        reading = step.reading(sliding_window)
        if step.look is not None:
            asked = q.view(len(q), k.shape[1], -1, dim).transpose(0, 1)
            step.look(module.layer_idx, asked, scale, sliding_window)
        out = tree_attention(q, k, v, store, step.layout, reading, scale)
    return out.reshape(groups, rows, heads, dim), None


def _refuse_unknown(rest: Mapping[str, Any], mask: torch.Tensor | None) -> None:
    if mask is not None:
        raise TypeError("mmspec attention takes no mask")
    for name, value in rest.items():
        if name not in _KNOWN and value is not None:
            raise TypeError(f"mmspec attention does not know the argument {name!r}")


AttentionInterface.register(NAME, attend)
