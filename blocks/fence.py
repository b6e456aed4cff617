"""What stands between a block and each change it makes: a question whether its caller still may."""

from collections.abc import Callable
from typing import Self

from pydantic import BaseModel, PrivateAttr


class Fenced(BaseModel):
    """A block whose changes can be put behind a fence."""

    _fence: Callable[[], None] | None = PrivateAttr(None)

    def behind(self, fence: Callable[[], None] | None) -> Self:
        """Return this block with a fence that is asked right before each change; what it raises prevents the change."""
        fenced = self.model_copy()
        fenced._fence = fence
        return fenced

    def require_fence(self) -> None:
        """Ask the fence, where there is one: what it raises says that nothing may be changed any more."""
        if self._fence is not None:
            self._fence()
