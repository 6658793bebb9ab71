"""Errors a user of the eval runner may meet; the message is the whole explanation."""

from __future__ import annotations


class EvalError(Exception):
    """Something the user can mend; the command prints the message and exits with status 2."""


class DataError(EvalError):
    """A file is missing, unreadable or not what its name promises."""


class PlanError(EvalError):
    """The command asks for something that does not exist or does not fit together."""


class MixedRunError(EvalError):
    """Results of different plans, models or machines would be mixed."""
