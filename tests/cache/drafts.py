"""Records of batches as a store is first given them."""

from __future__ import annotations

import time

from batchling.core.lifecycle import Record
from batchling.core.model import Target

TARGET = Target("openai", "https://api.openai.com/v1", "/v1/chat/completions", "m", "a", (("x", "y"),))


def draft(batch_id: str, *keys: str) -> Record:
    """A batch of these keys that is planned and not yet claimed."""
    return Record(batch_id, TARGET, keys, time.time())
