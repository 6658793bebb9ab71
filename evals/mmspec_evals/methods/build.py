"""From the names of ``--methods`` to methods; the one list of what there is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmspec.core.request import Speculation
from mmspec_evals.errors import PlanError
from mmspec_evals.methods.engine import EngineMethod
from mmspec_evals.methods.hf import PlainMethod
from mmspec_evals.methods.http import UrlMethod
from mmspec_evals.methods.listing import describe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmspec.core.config import Config
    from mmspec_evals.method import Method
    from mmspec_evals.methods.models import Models

_AUTO = "auto"
_BUDGETS = {"nodes": "max_nodes", "depth": "max_depth"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What ``--methods`` alone does not say.

    Attributes:
        assistant: model that drafts for ``hf_assisted``; None lets the target draft for itself,
            leaving at layer ``early_exit`` (None: a third of its layers).
        assistant_tokens, assistant_schedule, assistant_confidence: of transformers, its defaults;
            confidence 0 drafts a fixed number.
        url_seconds: patience for one answer of a server. url_key: its bearer token.
    """

    assistant: str | None = None
    early_exit: int | None = None
    assistant_tokens: int = 20
    assistant_schedule: str = "constant"
    assistant_confidence: float = 0.4
    url_seconds: float = 600.0
    url_key: str | None = None


def build_methods(
    names: Sequence[str], models: Models, options: Options = Options()
) -> list[Method]:
    """Methods in the order of their names; models are loaded when they first answer.

    Raises:
        PlanError: an unknown name, one given twice, or settings that do not fit.
    """
    methods = [_build(name, models, options) for name in names]
    labels = [method.name for method in methods]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise PlanError(f"methods named twice: {', '.join(twice)}")
    return methods


def _build(name: str, models: Models, options: Options) -> Method:
    kind, _, detail = name.partition(":")
    if kind == "openai" and detail:
        return UrlMethod(detail, seconds=options.url_seconds, key=options.url_key)
    if kind == "mmspec":
        return EngineMethod(name, models, _speculation(name, detail, models.config))
    if name in ("vanilla", "vanilla.again"):
        return EngineMethod(name, models, Speculation(enabled=False))
    if name == "hf_greedy":
        return PlainMethod(name, models, {})
    if name == "hf_assisted":
        return _assisted(models, options)
    if name == "pld":
        lookup = {"prompt_lookup_num_tokens": 10, "max_matching_ngram_size": 3}
        return PlainMethod(name, models, lookup)
    raise PlanError(f"no method {name!r}; there are: {', '.join(describe())}")


def _assisted(models: Models, options: Options) -> PlainMethod:
    drafting = {
        "num_assistant_tokens": options.assistant_tokens,
        "num_assistant_tokens_schedule": options.assistant_schedule,
        "assistant_confidence_threshold": options.assistant_confidence,
    }
    if options.assistant is not None:
        return PlainMethod("hf_assisted", models, {}, options.assistant, drafting)
    layer = options.early_exit or max(1, models.layers // 3)
    return PlainMethod("hf_assisted", models, {"assistant_early_exit": layer}, None, drafting)


def _speculation(name: str, detail: str, config: Config) -> Speculation:
    """Drafters and budgets of ``mmspec:retrieval.suffix,nodes=8,depth=4``.

    What is measured on the way silences nobody, so that tau is a function of the case alone;
    ``mmspec:auto`` is the server's own policy, which time has a part in.

    Raises:
        PlanError: what it names is not configured.
    """
    known = [f"{wing}.{one}" for wing, drafters in config.drafters.items() for one in drafters]
    drafters: list[str] = []
    budgets: dict[str, int] = {}
    adaptive = False
    for word in filter(None, detail.split(",")):
        field, _, value = word.partition("=")
        if field in _BUDGETS and value.isdecimal() and int(value) > 0:
            budgets[_BUDGETS[field]] = int(value)
        elif word in known:
            drafters.append(word)
        elif word == _AUTO:
            adaptive = True
        else:
            budget = " and ".join(f"{one}=N" for one in _BUDGETS)
            raise PlanError(
                f"{name}: {word!r} is neither a configured drafter ({', '.join(known)}) nor a "
                f"budget ({budget}) nor {_AUTO}"
            )
    for field, asked in budgets.items():
        most = getattr(config.engine, field)
        if asked > most:
            raise PlanError(f"{name}: the engine's {field} is {most}; raise it in the config file")
    if adaptive and drafters:
        raise PlanError(f"{name}: drafters that are named are not chosen between")
    return Speculation(
        adaptive=adaptive,
        drafters=tuple(drafters) or None,
        max_nodes=budgets.get("max_nodes"),
        max_depth=budgets.get("max_depth"),
    )
