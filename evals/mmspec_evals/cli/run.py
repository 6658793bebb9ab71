"""``mmspec-eval run``: measure methods on tasks, side by side, into a folder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmspec_evals.running.lm_eval import NAMES, translated
from mmspec_evals.running.settings import settle

if TYPE_CHECKING:
    from collections.abc import Sequence

HELP = "measure methods on tasks, side by side, and write quality, speed and losslessness"
INTERRUPTED = 130  # what a shell reports of a program ended by its user
_SWITCHES = (
    ("resume", "go on with the run in --out"),
    ("force", "resume although the plan or the machine differs; the results say `mixed`"),
    ("predict-only", "write samples without marking them; `mmspec-eval score` does that later"),
    ("dry-run", "print documents, prompt lengths, cells and time, and stop"),
    ("require-lossless", "status 4 if a lossless method's text is not the target's"),
    ("log_samples", "(samples are always written)"),
)


def options(parser: argparse.ArgumentParser) -> None:
    """Declare the flags; none has a default here, so that a file may stand below them."""
    parser.argument_default = argparse.SUPPRESS
    add = parser.add_argument
    add("--config", type=Path, metavar="FILE", help="these flags in TOML or YAML; flags win")
    add("--out", "--output_path", metavar="DIR", help="where the run is written")
    add("--tasks", help="names or groups, with commas; see `mmspec-eval ls tasks`")
    add("--methods", help="names with commas; see `mmspec-eval ls methods` (mmspec,vanilla)")
    add("--model", help="nano, a folder or a hub id (nano)")
    add("--assistant", "--draft", metavar="PATH", help="model that drafts for hf_assisted")
    add("--engine-config", metavar="FILE", help="the engine's TOML: drafters, budgets")
    add("--data", metavar="NAME=PATH,..", help="where official files are")
    add("--prompts", metavar="DIR", help="official prompt templates (InfiniteBench's checkout)")
    add("--profile", choices=("quality", "speed"), help="speed asks for long answers (quality)")
    add("--limit", metavar="N", help="documents a task; below 1 a share of them")
    add("--tokens", metavar="1k,4k", help="prompt lengths of generated documents")
    add("--seed", type=int, help="of everything drawn (0)")
    add("--repeats", type=int, metavar="N", help="measure everything N times (1)")
    add("--warm-up", type=int, metavar="N", help="throwaway answers a method (2)")
    add("--max-new-tokens", metavar="task|N", help="longest answer (task)")
    add("--max-context", type=int, metavar="N", help="most tokens of prompt and answer")
    add("--truncate", choices=("context", "official"), help="what too long prompts lose (context)")
    add("--official-tokens", type=int, metavar="N", help="longest prompt of --truncate official")
    add("--temperature", type=float, help="0 is greedy (0)")
    add("--top-p", type=float, help="(1)")
    add("--ignore-eos", nargs="?", const=True, type=_yes, help="go on past the end token (false)")
    add("--dtype", help="auto, bfloat16, float32 or float64")
    add("--device", help="cpu, cuda, cuda:1, ... (cpu)")
    add("--numerics", choices=("bitwise", "near-tie"), help="(bitwise)")
    add("--threads", type=int, metavar="N", help="of torch on the CPU")
    for name, text in _SWITCHES:
        add(f"--{name}", action="store_true", default=False, help=text)
    for name, text in NAMES.items():
        add(f"--{name}", help=text)


def run(options: argparse.Namespace) -> int:
    """Measure, or say what would be measured; the status says how it went."""
    given = translated(vars(options))
    file = given.pop("config", None)
    for name in ("command", *(name.replace("-", "_") for name, _ in _SWITCHES)):
        given.pop(name, None)
    if options.dry_run:
        given.setdefault("out", "-")
    settings = settle(given, file)

    from mmspec_evals.running.launch import Flow, measure, preview  # noqa: PLC0415  # loads torch

    if options.dry_run:
        print(preview(settings))
        return 0
    flow = Flow(resume=options.resume, force=options.force, score=not options.predict_only)
    out = Path(settings.out)
    try:
        failed = measure(settings, flow)
    except KeyboardInterrupt:
        print(f"stopped; the same command with --resume goes on in {out}", file=sys.stderr)
        return INTERRUPTED
    if options.predict_only:
        print(f"samples in {out}; mark them with: mmspec-eval score {out}")
        return 3 if failed else 0
    return finish(out, failed, require_lossless=options.require_lossless)


def finish(out: Path, failed: int, *, require_lossless: bool) -> int:
    """Write results and report of a measured run; the status of the command."""
    from mmspec_evals.results.lossless import verdict  # noqa: PLC0415  # numpy and jsonschema
    from mmspec_evals.results.publish import publish  # noqa: PLC0415
    from mmspec_evals.results.series import cells  # noqa: PLC0415
    from mmspec_evals.results.write import write_results  # noqa: PLC0415

    result = write_results(out)
    publish(result, out, ("md",))
    print(f"{out / 'results.json'}\n{out / 'report.md'}")
    refused = _refused(verdict(cell["lossless"]) for _, _, cell in cells(result))
    if require_lossless and refused:
        print("not lossless: " + "; ".join(refused))
        return 4
    if failed:
        print(f"{failed} samples failed; see {out / 'log.jsonl'}, then --resume")
        return 3
    return 0


def _refused(reasons: Any) -> Sequence[str]:
    return [reason for reason in reasons if reason is not None]


def _yes(text: str) -> bool:
    known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    try:
        return known[text.lower()]
    except KeyError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false") from error
