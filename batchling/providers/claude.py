"""What Claude's errors mean, at Anthropic and at Vertex AI.

Facts: the anthropic SDK 2.12 and Anthropic's reference. The status of the two memory errors is UNSURE.
"""

from __future__ import annotations

from batchling.core.neutral import Neutral
from batchling.providers.neutral import MESSAGES_IDS

NEUTRAL = Neutral(("metadata.user_id",), MESSAGES_IDS)
"""`user_id` is the only field of `metadata` that is known: "Anthropic may use this id to help detect abuse"."""

STATUS_OF_TYPE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
TYPE_OF_STATUS = {status: kind for kind, status in STATUS_OF_TYPE.items()}
STATUS_OF_TYPE |= dict.fromkeys(("memory_path_conflict_error", "memory_precondition_failed_error"), 409)
