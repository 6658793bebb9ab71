"""Property tests draw the same examples everywhere and do not time the compiler."""

from hypothesis import settings

settings.register_profile("core", deadline=None, derandomize=True, database=None)
settings.load_profile("core")
