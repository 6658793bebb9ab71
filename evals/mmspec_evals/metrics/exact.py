"""Exact matches after little rewriting."""

from __future__ import annotations

import string

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def exact_match_ignore_case_punct(prediction: str, reference: str) -> float:
    """1 if equal in lower case without ASCII punctuation, else 0: lmms-eval's ``exact_match``.

    White space counts here; lmms-eval's runner strips an answer's ends before it comes to this.
    """
    return float(_bare(prediction) == _bare(reference))


def gqa_llava(prediction: str, reference: str) -> float:
    """1 if LLaVA's GQA conversion equals the reference, else 0.

    It strips full stops at the end, then lowers the case; the reference is taken as it is.
    """
    return float(prediction.rstrip(".").lower() == reference)


def _bare(text: str) -> str:
    # NumPy does this officially, in a field as wide as the text: trailing NULs are lost, and so is
    # what lower case would add (a dotted capital I becomes two characters).
    text = text.rstrip("\0")
    return text.lower()[: max(1, len(text))].translate(_NO_PUNCTUATION).rstrip("\0")
