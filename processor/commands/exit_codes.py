"""What a command ends with."""

from __future__ import annotations

from typing import Final

from processor.errors import ConfigError, ProcessorError, StopProcessing, Unavailable

EXIT_WRONG: Final = 1
EXIT_CONFIG: Final = 2
EXIT_UNAVAILABLE: Final = 75  # EX_TEMPFAIL of sysexits.h
EXIT_INTERRUPTED: Final = 130

EXPECTED: Final = (ConfigError, StopProcessing, Unavailable)
"""What a command may raise. Their text says what to do; anything else is a bug."""


def exit_code(error: ProcessorError) -> int:
    """Of a command that raised one of `EXPECTED`."""
    match error:
        case ConfigError():
            return EXIT_CONFIG
        case Unavailable():
            return EXIT_UNAVAILABLE
        case _:
            return EXIT_WRONG
