"""`mmspec train msd`: a drafter that keeps every picture token, as its projected embedding.

MSD's decoupling (arXiv:2505.14260) as a configuration of `vispec`: OUT/drafter is a checkpoint for
`[drafters.vision.vispec]`.
"""

from mmspec.train.recipes.vispec import begin_recipe


def main(argv: list[str]) -> int:
    """Command line of the recipe."""
    return begin_recipe("msd", __doc__, argv)
