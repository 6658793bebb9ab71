"""Conversations as the model reads them: token ids, positions, who may see whom, what is learned.

Parallel turns share one prefix (system message, pictures, document) and do not see each other:
each is the very prompt a user would send alone, at the price of one prefix.
"""

from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from PIL import Image
from transformers import PreTrainedTokenizerFast

from mmspec.train.tokenizer import ASSISTANT, BOS, END, IMAGE, SYSTEM, USER

PATCHES = 36
SHORT, SHORT_WEIGHT = 8, 2.0  # short answers decide much with few tokens


@dataclass(frozen=True, slots=True)
class Conversation:
    """What is said: (user, assistant) turns after pictures and a document; or plain `source`."""

    kind: str
    turns: tuple[tuple[str, str], ...] = ()
    images: tuple[Image.Image, ...] = ()
    document: str = ""
    system: str = ""
    parallel: bool = True
    source: str = ""


@dataclass(frozen=True, slots=True)
class Encoded:
    """One conversation in tokens; all arrays int32 [T] but `weight`, float32 [T].

    `turn` is 0 for what every later token sees, k for the k-th parallel turn. `weight` is the
    loss weight of *predicting* the token at that place (0: not learned). `ends` is how many
    tokens there are up to the end of each turn.
    """

    kind: str
    tokens: np.ndarray
    positions: np.ndarray
    turn: np.ndarray
    weight: np.ndarray
    images: tuple[Image.Image, ...]
    ends: tuple[int, ...]

    def shortened(self, width: int) -> "Encoded":
        """Without the last turns where all do not fit `width`; one at least stays."""
        if len(self.tokens) <= width:
            return self
        end = max((e for e in self.ends if e <= width), default=self.ends[0])
        return Encoded(
            self.kind, self.tokens[:end], self.positions[:end], self.turn[:end],
            self.weight[:end], self.images, tuple(e for e in self.ends if e <= end),
        )  # fmt: skip


class Encoder:
    """Turns conversations into arrays with one tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._raw = tokenizer.backend_tokenizer
        ids = {name: tokenizer.convert_tokens_to_ids(name) for name in
               (BOS, END, SYSTEM, USER, ASSISTANT, IMAGE)}  # fmt: skip
        self._bos, self._end, self._system = ids[BOS], ids[END], ids[SYSTEM]
        self._user, self._assistant, self._image = ids[USER], ids[ASSISTANT], ids[IMAGE]

    def text(self, text: str) -> list[int]:
        """Token ids of plain text."""
        return list(self._raw.encode(text, add_special_tokens=False).ids)

    def encode(self, said: Conversation) -> Encoded:
        """Encode a conversation; raises ValueError when it says nothing."""
        if said.source:
            tokens = [self._bos, *self.text(said.source)]
            return self._build(said, [(tokens, 0, 0, [0.0] + [1.0] * (len(tokens) - 1))])
        if not said.turns:
            raise ValueError("a conversation needs a turn or source text")
        prefix = [self._bos]
        if said.system:
            prefix += [self._system, *self.text(said.system), self._end]
        prefix += [self._user] + [self._image] * (PATCHES * len(said.images))
        if said.document:
            prefix += self.text(said.document + "\n\n")
        parts = [(prefix, 0, 0, [0.0] * len(prefix))]
        start = len(prefix)
        for place, (question, answer) in enumerate(said.turns):
            lead = [] if said.parallel or place == 0 else [self._user]
            asked = [*lead, *self.text(question), self._end, self._assistant]
            told = [*self.text(answer), self._end]
            taught = SHORT_WEIGHT if len(told) <= SHORT else 1.0
            weight = [0.0] * len(asked) + [taught] * len(told)
            parts.append((asked + told, place + 1 if said.parallel else 0, start, weight))
            start += 0 if said.parallel else len(weight)
        return self._build(said, parts)

    @staticmethod
    def _build(said: Conversation, parts: list[tuple[list[int], int, int, list[float]]]) -> Encoded:
        def join(rows: list[list[int]]) -> np.ndarray:
            return np.array([value for row in rows for value in row], dtype=np.int32)

        ends = list(accumulate(len(tokens) for tokens, *_ in parts))
        return Encoded(
            said.kind,
            tokens=join([tokens for tokens, *_ in parts]),
            positions=join([list(range(s, s + len(t))) for t, _, s, _ in parts]),
            turn=join([[turn] * len(tokens) for tokens, turn, *_ in parts]),
            weight=np.concatenate([np.array(w, dtype=np.float32) for *_, w in parts]),
            images=said.images,
            ends=tuple(ends if said.source else ends[1:]),
        )
