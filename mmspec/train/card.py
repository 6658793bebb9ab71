"""The tables of a model card, from what the probe measured."""

from pathlib import Path
from typing import Any

BEGIN, END = "<!-- probe -->", "<!-- /probe -->"


def write_tables(card: Path, probe: dict[str, Any]) -> None:
    """Put the probe's tables between the card's two marks; raises ValueError without them."""
    before, rest = card.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    text = f"{before}{BEGIN}\n{tables(probe)}\n{END}{after}"
    card.write_text(text, encoding="utf-8")


def tables(probe: dict[str, Any]) -> str:
    """Two Markdown tables: pictures beside blank ones, and texts."""
    seen, blank = probe["picture_questions"], probe["blank_picture_questions"]
    rows = ["| measure | picture | blank |", "|---|---|---|"]
    rows += [
        f"| {_named(kind)} | {share:.0%} | {blank.get(kind, 0):.0%} |"
        for kind, share in seen.items()
    ]
    facts = (probe["described_facts"], probe["described_facts_blank"])
    rows.append(
        f"| described facts (size, colour, shape at a place) | {facts[0]:.0%} | {facts[1]:.0%} |"
    )
    rows.append(f"| whole descriptions exact | {probe['whole_descriptions']:.0%} | |")
    rows.append(f"| (tokens of a description, mean) | {probe['description_tokens']:.0f} | |")
    rows.append(
        f"| one of two pictures: questions, descriptions | {probe['two_pictures']['all']:.0%} | |"
    )
    rows += ["", "| text | whole answer right | deciding value there |", "|---|---|---|"]
    for group, marks in probe.items():
        if f"{group}_value" in probe:
            value = probe[f"{group}_value"]
            rows.append(f"| {group.replace('_', ' ')} | {marks['all']:.0%} | {value:.0%} |")
    return "\n".join(rows)


def _named(kind: str) -> str:
    return "short picture questions, all" if kind == "all" else kind
