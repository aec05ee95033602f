"""Which stretch of a table a page is read from."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Up to `limit` rows with keys between `low` and `high` (exclusive), scanned up or down."""

    low: str
    high: str
    up: bool
    limit: int

    @property
    def way(self) -> str:
        """Name the direction as the statements do."""
        return "up" if self.up else "down"
