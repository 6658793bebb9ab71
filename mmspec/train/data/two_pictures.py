"""Two pictures in one message: a description of each, and questions that say which is meant."""

from PIL import Image

from mmspec.train.data import picture_language, pictures
from mmspec.train.data.picture_language import Asked
from mmspec.train.data.seeds import generator

ORDER = ("first", "second")
APART = 1 << 40  # even, so that both pictures are of the split of the seed


def two_pictures(
    seed: int, objects: tuple[int, int] = (1, 3)
) -> tuple[tuple[Image.Image, ...], list[Asked]]:
    """Both pictures, and for each in turn a description and three questions.

    Args:
        objects: how many things a scene has, an inclusive range.
    """
    rng = generator(seed, "two")
    kinds = ("scene", "scene", "chart", "word")
    both = [
        pictures.draw(rng.choice(kinds), seed + k * APART, rng.randint(*objects)) for k in (0, 1)
    ]
    told: list[Asked] = []
    for name, (_, facts) in zip(ORDER, both, strict=True):
        description = picture_language.describe(facts)
        told.append(Asked("describe", f"Describe the {name} picture.", description))
        told += [
            Asked(asked.kind, f"Look at the {name} picture. {asked.question}", asked.answer)
            for asked in picture_language.questions(facts, seed, 3)
        ]
    return tuple(image for image, _ in both), told
