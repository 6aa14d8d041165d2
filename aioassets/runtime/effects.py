"""A record of whether the effects of requests are known."""

from __future__ import annotations

from aioassets.errors import is_uncertain


class Effects:
    """A record of whether the effect of every write request is known.

    A request with an unknown effect may still take effect later, even if a retry has succeeded.

    Attributes:
        uncertain: whether the effect of any request is unknown.
    """

    __slots__ = ("uncertain",)

    def __init__(self) -> None:
        self.uncertain = False

    def note_uncertain(self) -> None:
        """Record a request whose effect is unknown."""
        self.uncertain = True

    def note_error(self, error: BaseException) -> None:
        """Record a failed request. Its effect is unknown unless the error says otherwise."""
        if is_uncertain(error):
            self.note_uncertain()
