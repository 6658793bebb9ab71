"""Real text: the source of this Python's standard library, cut at line ends."""

import re
import sysconfig
from collections import Counter
from functools import lru_cache
from pathlib import Path

from mmspec.train.data.documents import CHARACTERS_A_TOKEN
from mmspec.train.data.seeds import generator


@lru_cache(maxsize=1)
def modules() -> tuple[Path, ...]:
    """Top-level standard library modules and the packages' files, tests left out, sorted."""
    root = Path(sysconfig.get_path("stdlib"))
    skip = {"test", "tests", "idlelib", "site-packages", "encodings", "lib2to3", "turtledemo"}
    found = [p for p in root.rglob("*.py") if not skip & set(p.relative_to(root).parts)]
    return tuple(sorted(p for p in found if 2_000 < p.stat().st_size < 200_000))


def excerpt(seed: int, tokens: int) -> str:
    """About `tokens` tokens of one module, beginning and ending at a line end."""
    rng = generator(seed, "source")
    lines = _lines(rng.choice(modules()))
    room = int(tokens * CHARACTERS_A_TOKEN * 0.8)
    taken: list[str] = []
    for line in lines[rng.randrange(max(1, len(lines) - 20)) :]:
        room -= len(line)
        if room < 0 and taken:
            break
        taken.append(line)
    return "".join(taken)[: int(tokens * CHARACTERS_A_TOKEN)]


@lru_cache(maxsize=1)
def common_words(count: int = 1500) -> tuple[str, ...]:
    """The most frequent lower-case words of every tenth module, sorted."""
    seen: Counter[str] = Counter()
    for path in modules()[::10]:
        seen.update(re.findall(r"\b[a-z]{3,9}\b", "".join(_lines(path))))
    return tuple(sorted(word for word, _ in seen.most_common(count)))


@lru_cache(maxsize=512)
def _lines(path: Path) -> tuple[str, ...]:
    return tuple(path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True))
