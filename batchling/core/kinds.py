"""What kind of call an endpoint is, recognised by words that all providers use in its name."""

from __future__ import annotations

from enum import Enum


class Kind(Enum):
    """The values are the names in the OpenTelemetry conventions, where they have one."""

    EMBEDDINGS = "embeddings"
    GENERATE_CONTENT = "generate_content"
    RAW_PREDICT = "raw_predict"
    MESSAGES = "messages"
    RESPONSES = "responses"
    CHAT = "chat"
    COMPLETIONS = "text_completion"
    IMAGES = "images"
    OCR = "ocr"
    JUDGEMENTS = "judgements"
    """Moderation, classification, ranking."""
    OTHER = "other"

    @property
    def is_silent(self) -> bool:
        """Whether its answers have no output tokens."""
        return self in (Kind.EMBEDDINGS, Kind.JUDGEMENTS)

    @property
    def chats(self) -> bool:
        """Whether a model responds to messages."""
        return self in (Kind.CHAT, Kind.RESPONSES, Kind.MESSAGES, Kind.RAW_PREDICT)


_WORDS = (
    ("embed", Kind.EMBEDDINGS),
    ("moderation", Kind.JUDGEMENTS),
    ("classification", Kind.JUDGEMENTS),
    ("rerank", Kind.JUDGEMENTS),
    ("generatecontent", Kind.GENERATE_CONTENT),
    ("rawpredict", Kind.RAW_PREDICT),
    ("messages", Kind.MESSAGES),
    ("responses", Kind.RESPONSES),
    ("images", Kind.IMAGES),
    ("ocr", Kind.OCR),
    ("chat/completions", Kind.CHAT),
    ("completions", Kind.COMPLETIONS),
)


def kind_of(endpoint: str) -> Kind:
    """The kind of an endpoint (`/v1/chat/completions`)."""
    name = endpoint.lower()
    return next((kind for word, kind in _WORDS if word in name), Kind.OTHER)
