"""The ``mmspec`` command: serve, chat, index, bench, train, config."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mmspec import __version__
from mmspec.core.config import Config, load
from mmspec.core.errors import ConfigError, MmspecError

if TYPE_CHECKING:
    from collections.abc import Callable


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the process's exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(prog="mmspec", description=__doc__)
    parser.add_argument("--version", action="version", version=f"mmspec {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, help_text, options in (
        ("serve", "serve a model over an OpenAI-compatible API", _serve_options),
        ("chat", "talk to a model in this terminal", _chat_options),
        ("config", "print the configuration a server would run with", _serve_options),
    ):
        options(commands.add_parser(name, help=help_text))
    train = commands.add_parser("train", help="train a model by a recipe", add_help=False)
    train.add_argument("recipe")
    commands.add_parser("bench", help="put a server under load: serve, sweep", add_help=False)
    commands.add_parser("index", help="build, see to or drop indexes of texts", add_help=False)
    known, rest = parser.parse_known_args(arguments)
    if rest and known.command not in ("train", "bench", "index"):
        parser.error(f"unrecognised arguments: {' '.join(rest)}")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    try:
        return _COMMANDS[known.command](known, rest)
    except MmspecError as error:
        print(f"mmspec: {error}", file=sys.stderr)
        return 2


def _model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, help="a TOML file")
    parser.add_argument("--model", help="nano, a folder or a hub id (default: nano)")
    parser.add_argument("--dtype", choices=("auto", "bfloat16", "float32", "float64"))
    parser.add_argument("--device")
    parser.add_argument("--numerics", choices=("bitwise", "near-tie"))
    parser.add_argument("--max-context", type=int)
    parser.add_argument("--threads", type=int)


def _serve_options(parser: argparse.ArgumentParser) -> None:
    _model_options(parser)
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)


def _chat_options(parser: argparse.ArgumentParser) -> None:
    _model_options(parser)
    parser.add_argument("--image", type=Path, action="append", default=[], help="may repeat")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--max-tokens", type=int, default=512)
    parser.add_argument("prompt", help="what to ask")


def _config(options: argparse.Namespace) -> Config:
    """The configuration file, with the command line's words over it."""
    config = load(options.config) if options.config else Config()
    model = {"path": options.model} | {
        name: getattr(options, name)
        for name in ("dtype", "device", "numerics", "max_context", "threads")
    }
    serve = {name: getattr(options, name, None) for name in ("host", "port")}
    return msgspec.structs.replace(
        config,
        model=msgspec.structs.replace(config.model, **_given(model)),
        serve=msgspec.structs.replace(config.serve, **_given(serve)),
    )


def _given(values: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}


def _serve(options: argparse.Namespace, _rest: list[str]) -> int:
    from mmspec.serve.run import serve  # noqa: PLC0415  # loads torch

    return serve(_config(options))


def _chat(options: argparse.Namespace, _rest: list[str]) -> int:
    from mmspec.core.request import Sampling  # noqa: PLC0415
    from mmspec.llm import LLM  # noqa: PLC0415

    content: list[dict[str, object]] = [{"type": "image", "image": path} for path in options.image]
    content.append({"type": "text", "text": options.prompt})
    sampling = Sampling(temperature=options.temperature, max_tokens=options.max_tokens)
    llm = LLM(config=_config(options))
    for piece in llm.chat_stream([{"role": "user", "content": content}], sampling):
        print(piece.text, end="", flush=True)
        if piece.answer is not None:
            said = piece.answer
            print(f"\n[{len(said.token_ids)} tokens, tau {said.speculation.tau:.2f}]")
    return 0


def _show(options: argparse.Namespace, _rest: list[str]) -> int:
    print(msgspec.json.format(msgspec.json.encode(_config(options))).decode())
    return 0


def _train(options: argparse.Namespace, rest: list[str]) -> int:
    name = options.recipe.replace("-", "_")
    module_name = f"mmspec.train.recipes.{name}"
    if not name.isidentifier() or not importlib.util.find_spec(module_name):
        raise ConfigError(f"no training recipe named {options.recipe!r}")
    status: int = importlib.import_module(module_name).main(rest)
    return status


def _bench(_options: argparse.Namespace, rest: list[str]) -> int:
    if not (importlib.util.find_spec("mmspec_evals") and importlib.util.find_spec("httpx")):
        raise ConfigError("mmspec bench needs more: pip install 'mmspec[evals]'")
    status: int = importlib.import_module("mmspec_evals.serving.bench").main(rest)
    return status


def _index(_options: argparse.Namespace, rest: list[str]) -> int:
    from mmspec.retrieval.index import main as index  # noqa: PLC0415

    return index(rest)


_COMMANDS: dict[str, Callable[[argparse.Namespace, list[str]], int]] = {
    "serve": _serve,
    "chat": _chat,
    "bench": _bench,
    "index": _index,
    "config": _show,
    "train": _train,
}


if __name__ == "__main__":
    sys.exit(main())
