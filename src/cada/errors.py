"""The one error that a user sees: what is wrong, where, and how to mend it."""


class CadaError(Exception):
    """A mistake in the input or the surroundings, told in one line; the command line exits with 2.

    Args:
        what: what is wrong, as a sentence without its full stop.
        where: the file, field or line it is in, when there is one.
        mend: what the user can do about it.
    """

    def __init__(self, what: str, *, where: str | None = None, mend: str | None = None) -> None:
        self.what = what
        self.where = where
        self.mend = mend
        text = f"{where}: {what}." if where else f"{what}."
        super().__init__(f"{text} {mend}." if mend else text)
