"""`mmspec train flash`: a drafter whose latents weigh the target's features of a picture.

FLASH's compression (arXiv:2505.12728) as a configuration of `vispec`: OUT/drafter is a checkpoint
for `[drafters.vision.vispec]`.
"""

from mmspec.train.recipes.vispec import begin_recipe


def main(argv: list[str]) -> int:
    """Command line of the recipe."""
    return begin_recipe("flash", __doc__, argv)
