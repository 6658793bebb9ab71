"""ChartQA's relaxed accuracy: numbers may be off by a twentieth."""

from __future__ import annotations

TOLERANCE = 0.05


def chartqa_relaxed(prediction: str, target: str) -> float:
    """1 if right by lmms-eval's rule for ChartQA, else 0.

    Both are numbers if ``float`` takes them ("5%" is 0.05, "1,234" is none). A target of 0 or one
    that is no number asks for the same letters in any case, so "0.0" is wrong for "0". Years are
    numbers: 2100 passes for 2018. NaN is never right.

    Raises:
        AttributeError: either is not a text, as officially.
    """
    told, wanted = _number(prediction), _number(target)
    if told is not None and wanted:
        return float(abs(told - wanted) / abs(wanted) <= TOLERANCE)
    return float(prediction.lower() == target.lower())


def _number(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100.0 if text.endswith("%") else float(text)
    except ValueError:
        return None
