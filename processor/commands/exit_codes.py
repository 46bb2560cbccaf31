"""What a command ends with."""

from typing import Final

EXIT_WRONG: Final = 1
EXIT_CONFIG: Final = 2
EXIT_UNAVAILABLE: Final = 75  # EX_TEMPFAIL of sysexits.h
EXIT_INTERRUPTED: Final = 130
