"""Every failure mmspec raises on purpose. Anything else that escapes is a bug."""


class MmspecError(Exception):
    """Base of all deliberate failures; the message is safe to show to a client."""


class ConfigError(MmspecError):
    """A configuration value that is unknown, mistyped or out of range."""


class UnsupportedModelError(MmspecError):
    """A model family, layer kind or feature that the target refuses at load."""


class BadRequestError(MmspecError):
    """A request that cannot be served as asked.

    Attributes:
        param: dotted path of the offending field, as the client spelt it.
        code: short machine-readable reason such as ``context_length_exceeded``.
    """

    def __init__(self, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code


class OverloadedError(MmspecError):
    """The queue is full or the engine is draining; try again after ``retry_after`` seconds."""

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class CacheFullError(MmspecError):
    """The key-value store has no room for what was asked; the scheduler waits and tries again."""


class EngineFaultError(MmspecError):
    """The engine could not finish a request it had accepted (a fault of ours, not the client's)."""


class CorpusError(MmspecError):
    """An index of texts that cannot be built, read or mounted; the message says which and why."""
