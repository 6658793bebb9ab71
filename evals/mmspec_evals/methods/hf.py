"""transformers' own ``generate``: greedy, assisted by a draft model, and prompt lookup."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
import transformers
from transformers import GenerationConfig

from mmspec.core.sampling import is_greedy, stop_tokens
from mmspec_evals.method import UnsupportedError
from mmspec_evals.methods.ending import trim_ids, trim_rounds
from mmspec_evals.methods.inputs import model_inputs
from mmspec_evals.methods.meter import Meter
from mmspec_evals.methods.watch import Watch
from mmspec_evals.trace import Rounds, Seconds, Trace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mmspec.core.request import Sampling
    from mmspec_evals.method import Case
    from mmspec_evals.methods.models import Models

# What generate raises when models, prompts and modes do not go together.
_REFUSALS = (ValueError, TypeError, AttributeError, NotImplementedError)


class PlainMethod:
    """One way to call ``generate`` on the run's plain copy of the target.

    Args:
        name: its label. models: where the model is, shared by all labels.
        asked: generation settings that make this arm what it is (``prompt_lookup_num_tokens``,
            ``assistant_early_exit``, ...).
        assistant: folder or hub id of a model that drafts.
        drafting: settings of the drafting model, fresh for every document: transformers adapts
            them while it runs.
    """

    lossless = True

    def __init__(
        self,
        name: str,
        models: Models,
        asked: Mapping[str, Any],
        assistant: str | None = None,
        drafting: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self._models = models
        self._asked = dict(asked)
        self._path = assistant
        self._drafting = dict(drafting or {})
        config = models.config.model
        self.settings: dict[str, Any] = {
            "kind": "transformers",
            "transformers": transformers.__version__,
            "model": {"path": config.path, "dtype": config.dtype, "device": config.device},
            "generate": self._asked,
            "assistant": assistant,
            "drafting": self._drafting,
        }

    def generate(self, case: Case) -> Trace:
        """Answer one case.

        Raises:
            UnsupportedError: transformers cannot combine these, in its own words.
            MemoryError: there is no room.
        """
        model, drafter = self._models.plain, self._drafter
        self._reset()
        sampling = case.sampling
        settings = self._settings(sampling)
        inputs = model_inputs(case.prompt, model.device, model.dtype)
        with Meter(model.device) as meter, _seeded(sampling.seed):
            watch = Watch(meter)
            with watch.on(model, drafter), self._refusals():
                said = model.generate(
                    **inputs,
                    generation_config=settings,
                    streamer=watch,
                    **({"assistant_model": self._assistant} if self._path else {}),
                )
            ids = said[0, len(case.prompt.ids) :].tolist()
            total, peak = meter.seconds(), meter.peak_mib()
        return self._trace(case, ids, watch, total, peak)

    def close(self) -> None:
        """Let go of the drafting model; the target is the run's."""
        self.__dict__.pop("_assistant", None)

    @cached_property
    def _assistant(self) -> Any:
        assert self._path is not None
        return self._models.assistant(self._path)

    @property
    def _drafter(self) -> Any | None:
        if self._path is not None:
            return self._assistant
        return self._models.plain if "assistant_early_exit" in self._asked else None

    def _reset(self) -> None:
        """Undo what an earlier document taught the drafting model's settings."""
        drafter = self._drafter
        if drafter is not None:
            drafter.generation_config = GenerationConfig(**self._drafting)

    def _settings(self, sampling: Sampling) -> GenerationConfig:
        """Cap, stop tokens and law are those of our engine's request."""
        stops = stop_tokens(sampling, self._models.processor.stop_tokens)
        law: dict[str, Any] = {"do_sample": False}
        if not is_greedy(sampling):
            law = {
                "do_sample": True,
                "temperature": sampling.temperature,
                "top_k": max(0, sampling.top_k),
                "top_p": sampling.top_p,
                "min_p": sampling.min_p or None,
            }
        return GenerationConfig(
            max_new_tokens=sampling.max_tokens,
            eos_token_id=sorted(stops) or None,
            pad_token_id=min(stops, default=0),
            **law,
            **self._asked,
        )

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        """Turn what transformers refuses into the reason a report shows; greedy refuses nothing.

        Early exit changes the model's depth for a while; a failure must not leave it changed.
        """
        base = self._models.plain.base_model.config
        depth = getattr(base, "num_hidden_layers", None)
        try:
            with torch.inference_mode():
                yield
        except torch.OutOfMemoryError as error:
            raise MemoryError(str(error)) from error
        except RuntimeError as error:
            if "allocate memory" in str(error):  # how torch says it on the CPU
                raise MemoryError(str(error)) from error
            raise
        except _REFUSALS as error:
            if not self._asked and self._path is None:
                raise
            raise UnsupportedError(f"transformers: {error}") from error
        finally:
            if depth is not None:
                base.num_hidden_layers = depth

    def _trace(self, case: Case, ids: list[int], watch: Watch, total: float, peak: float) -> Trace:
        stops = stop_tokens(case.sampling, self._models.processor.stop_tokens)
        cap = case.sampling.max_tokens
        kept, reason = trim_ids(ids, stops, len(ids) if cap is None else cap)
        image_tokens = sum(media.length for media in case.prompt.media)
        vision = watch.vision_seconds if image_tokens else 0.0
        speculates = bool(self._asked or self._path)
        known = watch.proposed is not None or not speculates
        rounds = _rounds(watch, speculates, len(kept))
        first = watch.times[0]
        return Trace(
            text=self._models.processor.decode(kept),
            tokens=len(kept),
            finish_reason=reason,
            seconds=Seconds(
                total=total,
                first=first,
                decode=watch.times[-1] - first,
                vision=vision,
                prefill=None if vision is None else first - vision,
                draft=watch.draft_seconds if known else None,
            ),
            ids=kept,
            prompt_tokens=len(case.prompt.ids),
            image_tokens=image_tokens,
            passes=len(watch.counts) if rounds is None else len(rounds.accepted),
            drafts=watch.draft_forwards if known else None,
            rounds=rounds,
            peak_mib=peak,
            seed=case.sampling.seed,
        )


def _rounds(watch: Watch, speculates: bool, tokens: int) -> Rounds | None:
    """One entry a forward pass; None when what was proposed is not known."""
    proposed = watch.proposed if speculates else [0] * len(watch.counts)
    if proposed is None or len(proposed) != len(watch.counts):
        return None
    accepted = [count - 1 for count in watch.counts]
    rounds = Rounds(proposed=proposed, depth=list(proposed), accepted=accepted)
    return trim_rounds(rounds, tokens)


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    """Torch's own generators, seeded for one call and put back."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        if seed is not None:
            torch.manual_seed(seed)
        yield
