"""Problems that the user can mend, and how one is told from the rest: that memory ran out."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

# What torch, the system and their libraries say where memory is used up. A primitive is what oneDNN calls an operation;
# it does not say why it could not be had.
_USED_UP = re.compile(
    r"out of memory|(can't|cannot) allocate memory|not enough memory|bad_alloc|ALLOC_FAILED"
    r"|could not (create|execute) a primitive\b(?! desc)",
    re.IGNORECASE,
)


class InputError(Exception):
    """What was given cannot be used.

    The message is one sentence that names the file or option and says what to do. The command line prints it and
    exits with 2; nobody sees a traceback.
    """


class MissingExtraError(InputError):
    """An optional part is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; it comes with: pip install '.[{extra}]'")


class DoesNotFitError(InputError):
    """Not even the smallest part of the work fits into memory."""


class OthersEndedError(Exception):
    """Another process of the same run ended, which that one or torchrun tells of: this one can only end too."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, for which torch has a type of its own on a GPU alone.

    >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"))
    True
    """
    return isinstance(error, MemoryError | DoesNotFitError) or (
        isinstance(error, RuntimeError) and _USED_UP.search(str(error)) is not None
    )


def too_large(name: object) -> DoesNotFitError:
    """The error that a picture is too large for the memory that there is."""
    return DoesNotFitError(f"{name} takes more memory than there is; cut it up or make it smaller.")


@contextmanager
def naming_what_is_too_large(name: object) -> Iterator[None]:
    """Work on a picture; where memory runs out, for which torch has errors of its own, the error names it.

    Raises:
        DoesNotFitError: It did.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise too_large(name) from error
