"""Problems that the user can mend."""


class InputError(Exception):
    """What was given cannot be used.

    The message is one sentence that names the file or option and says what to do. The command line prints it and
    exits with 2; nobody sees a traceback.
    """


class MissingExtraError(InputError):
    """An optional part is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; it comes with: pip install '.[{extra}]'")
