"""As the tests of faults have it: short patience."""

from tests.faults.conftest import short_patience

__all__ = ["short_patience"]
