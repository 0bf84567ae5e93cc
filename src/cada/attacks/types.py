"""What an attack makes of a request."""

from dataclasses import dataclass, replace

from cada.requests.types import Request

NO_ATTACK = "none"


@dataclass(frozen=True)
class Attempt:
    """A request as it is put to the model.

    The judge sees the plain `request`; the model sees `text` in its place. `prefill` is what its
    own turn is made to begin with: text put into the model's mouth.
    """

    request: Request
    attack: str
    text: str
    prefill: str = ""

    @classmethod
    def plain(cls, request: Request) -> "Attempt":
        """The request itself, with no attack."""
        return cls(request, NO_ATTACK, request.text)

    @property
    def sent(self) -> Request:
        """The request that the prompt is built from."""
        return replace(self.request, text=self.text)
