"""The shape of a drafter of bounded memory, as its checkpoint states it."""

from __future__ import annotations

from mmspec.text.eagle_config import VoiceConfig


class LongspecConfig(VoiceConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One layer: attention over its own last tokens, then over the target's keys and values.

    ``VoiceConfig`` tells the rest; ``heads``, ``kv_heads`` and ``head_dim`` are of its own tokens.

    Attributes:
        reads: the decoder layer of the target whose keys and values it reads.
        cross_heads: query heads that read them. target_kv_heads, target_head_dim: theirs.
        features: decoder layers whose outputs at the last cached token begin a tree; none: a
            stream begins with its token's embedding, and nothing but ids is asked of the target's
            steps (LongSpec as published).
        span: how many tokens back it sees of its own, the token itself included.
        direct: whether the query to the target's keys also reads the window's embeddings, and not
            only the stream after the first attention.
        attention_bias: of queries, keys and values.
    """

    reads: int
    cross_heads: int
    target_kv_heads: int
    target_head_dim: int
    features: tuple[int, ...] = ()
    span: int = 512
    direct: bool = False
    attention_bias: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reads < 0 or (self.features and min(self.features) < 0):
            raise ValueError("reads, features: decoder layers, counted from 0")
        if self.cross_heads % self.target_kv_heads:
            raise ValueError("cross_heads: a multiple of target_kv_heads")
        if self.window < 1 or self.span < 1:
            raise ValueError("window, span: at least 1")
        if not self.features and self.hidden != self.target_hidden:
            raise ValueError("a stream that begins with an embedding is as wide as the target")
