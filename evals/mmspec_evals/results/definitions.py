"""What every number of a result means; printed under the tables and stored beside the numbers."""

from __future__ import annotations

DEFINITIONS = {
    "pairing": (
        "Methods are compared with plain decoding (vanilla) of the same document in the same "
        "process; vanilla is measured first and last, and its mean is the base. Repeats are "
        "averaged within a document. Documents on which a compared method failed are left out for "
        "all, unless it failed on most."
    ),
    "equal_work": (
        "Seconds are compared at the base's tokens. Tokens beyond those are taken off at the "
        "method's own rate; tokens left out are charged at the slower of both rates, or, where the "
        "audit found a near tie, left out of both. equal_tokens_share is how much of the base's "
        "tokens the method emitted."
    ),
    "speedup_decode": (
        "Sum of the base's seconds from first to last token over the sum of the method's, at equal "
        "work; prefill and pictures are not in it. Tokens that came with the first, in one pass, "
        "are put back at the arm's own rate; an answer that was one pass in all is left out."
    ),
    "speedup_e2e": "The same over whole calls: pictures, prefill and decoding.",
    "speedup_decode_common": (
        "The same over the tokens both share before their ids first differ (first turn)."
    ),
    "speedup_geometric": "Geometric mean of per-document speedups (the _geometric fields).",
    "ratio_of_mean_tps": (
        "Spec-Bench's number: mean over documents of tokens a second, prefill in, method "
        "over base; no correction for unequal tokens."
    ),
    "decode_tps": "Tokens after the first a second of decoding, all documents pooled.",
    "ttft_ms": "Milliseconds to the first token: mean, and median and 90th percentile beside it.",
    "tpot_ms": "Milliseconds a token after the first: mean over answers, and percentiles.",
    "drift": "Seconds of vanilla measured last over those measured first; 1 on a steady machine.",
    "tau": (
        "Tokens emitted over target passes after prefill, bonus token included, documents pooled "
        "(vanilla: 1). LongSpec's and Spec-Bench's count; ViSpec's leaves the bonus out."
    ),
    "accepted_per_round": "Drafted tokens kept a target pass, bonus excluded (ViSpec's tau).",
    "accept_at": (
        "[k-1]: share of passes with a draft that kept at least k drafted tokens; unconditional, "
        "as vLLM's acceptance per position."
    ),
    "alpha": (
        "[k-1]: share that kept at least k among passes that kept k-1 and drafted to depth k; "
        "conditional, as EAGLE's k-alpha."
    ),
    "draft_rate": "Drafted tokens kept over drafted tokens proposed (every node of a tree counts).",
    "draft_share": "Seconds of drafting over seconds of prefill and decoding.",
    "spec_decode": (
        "Fields of the names and meanings of `vllm bench serve`: acceptance_length is 1 + accepted "
        "over passes with a draft, acceptance_rate in percent."
    ),
    "long_enough": "The median answer has at least 64 tokens; acceptance of shorter ones misleads.",
    "repeated": (
        "Share of ids that end a run of six already said in the same answer: loops, which are "
        "nearly free to draft."
    ),
    "lossless": (
        "Documents by what the audit found against vanilla: exact (same ids), near_tie (the ids "
        "part where the target's own logits, given the text before, hold both tokens within the "
        "bound), violation (any other difference), approximate (the method claims no exactness)."
    ),
    "quality": (
        "Mean over documents of the task's metric (or its own aggregate), repeats averaged first; "
        "answers that failed score 0. Standard errors are clustered (arXiv 2411.00640)."
    ),
    "ci95": (
        "95 % percentile interval of 2000 seeded bootstrap resamples of clusters (documents that "
        "share a book or a picture); none with fewer than two clusters."
    ),
    "comparisons": (
        "Paired differences a - b; p by McNemar's exact test (marks of 0 or 1) or the sign test, "
        "one vote a cluster; p_holm corrected over all tasks and metrics of a pair of methods."
    ),
    "verdict": "Given in words from 20 documents on, and only if the interval excludes 1.",
}
