"""Every error that knowedit raises on purpose.

Each message has what was found, what was expected and what to do. The command line prints it as
one line and exits with code 2.
"""

_LONGEST = 1_000
"""Characters of a message: what it quotes may come from a file, and be of any length."""


class KnoweditError(Exception):
    """Base of all errors raised by this package; the message is one line, and is cut where it is very long."""

    def __str__(self) -> str:
        text = " ".join(super().__str__().splitlines())
        half = _LONGEST // 2
        return text if len(text) <= _LONGEST else f"{text[:half]} ... {text[-half:]}"


class InputError(KnoweditError, ValueError):
    """An argument, prompt, name or file content that cannot be used as given."""


class ShapeError(InputError):
    """Arrays whose shapes or dtypes do not fit together."""


class NumericalError(KnoweditError, ArithmeticError):
    """A computation that has no meaningful result: NaN, infinity, a zero divisor."""


class SingularError(NumericalError):
    """A second moment that is not of full rank, so that no unique solution exists."""


class FileFormatError(InputError):
    """A file that is truncated, altered, or not of the kind that was asked for."""


class BaseMismatchError(InputError):
    """An edit or statistic that belongs to another model."""
