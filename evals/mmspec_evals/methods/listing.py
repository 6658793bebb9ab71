"""What methods there are; apart from what makes them, which loads torch."""

from __future__ import annotations


def describe() -> dict[str, str]:
    """Every method's name and what it is, for a listing."""
    return {
        "mmspec": "our engine, speculating with the drafters of its configuration",
        "mmspec:WING.DRAFTER[,nodes=N][,depth=N]": "the same with these drafters and budgets only",
        "mmspec:auto[,nodes=N][,depth=N]": "as its server runs: what does not pay falls silent",
        "vanilla": "our engine with speculation off",
        "vanilla.again": "the same among the methods: its speedup must be 1",
        "hf_greedy": "transformers' generate (sampling where the run does)",
        "hf_assisted": "transformers' assisted generation; --assistant names the draft model",
        "pld": "transformers' prompt lookup: 10 tokens, n-grams up to 3",
        "openai:URL[#MODEL]": "any OpenAI-compatible server that is running, http://host:port/v1; "
        "its key in MMSPEC_EVAL_API_KEY",
    }
