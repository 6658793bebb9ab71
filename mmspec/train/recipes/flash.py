"""`mmspec train flash`: a drafter that says several tokens a pass, and sees by latents.

FLASH (arXiv:2505.12728) as a configuration of `vispec`: latents weigh the target's features of a
picture, and the layer's MLP says k states a slot, each at first the one of the drafter it starts
from. OUT/drafter is a checkpoint for `[drafters.vision.vispec]`.
"""

from mmspec.train.recipes.vispec import begin_recipe


def main(argv: list[str]) -> int:
    """Command line of the recipe."""
    return begin_recipe("flash", __doc__, argv)
