"""What refusals mean, by texts that providers and gateways have really sent (facts.md, and the issues it names)."""

from __future__ import annotations

import pytest

from batchling.core.model import Fault
from batchling.providers import PROVIDERS, refusals
from batchling.providers.base import Verdict

OF_THE_MODEL = [
    (400, "Model 'openai/gpt-4o-mini' does not have a :batch endpoint."),  # OpenRouter
    (400, "No :batch endpoint for anthropic/claude-3-haiku"),
    (422, "batch adapter 'MistralBatchAdapter' does not support native image URLs; use the sync API"),
    (400, "This model is not in the batch catalogue, use the synchronous API."),
    (403, "zdr-retention"),
    (422, "You do not have access to the model"),  # Mistral, create-422-unsupported-model
    (403, "Your key has no access to the model mistral-large-latest"),
    (400, "Invalid model: mistral-huge"),
    (400, "The PublisherModel gemini-9 does not exist."),  # Vertex
    (404, "Publisher Model `projects/p/locations/l/publishers/google/models/gemini-2.5` was not found or your project"),
    (
        404,
        "models/gemini-9 is not found for API version v1beta, or is not supported for batchGenerateContent.",
    ),  # Gemini
    (400, "Model grok-4.7 is not supported for batch processing."),  # xAI, xai-sdk-python#176
    (400, "Batch inference is not supported for the requested model"),  # Bedrock, stdapi.ai#292
    (400, "The model gpt-5.6 is not available for batched requests."),
    (404, "The model `gpt-9` does not exist or you do not have access to it."),  # OpenAI
    (400, "The deployment 'gpt-4o' is not supported for batch. Use a GlobalBatch deployment."),  # Azure
    (404, "The API deployment for this resource does not exist: model deployment not found"),
    (400, "Model does not exist. Please check it carefully."),  # SiliconFlow
    (404, "Model not exist."),  # DashScope
    (403, "You are not authorized to access model 'kimi-k3' in batches"),  # Doubleword's 403
    (403, "Model 'x/y' isn't available for your account."),
    (400, "Unsupported model for batch: kimi-k3"),
    (400, "模型不存在"),  # Zhipu 1211
    (400, "The model accounts/fireworks/models/x does not support batch inference"),
]

ABOUT_THE_REQUEST = [
    (400, "The 'fallbacks' parameter is not supported for batch requests"),  # Anthropic, of one row
    (
        400,
        "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported.",
    ),
    (400, "This model does not support image input."),
    (400, "tools[0] is not supported by this model"),
    (400, "Model x is not supported when using web_search"),
    (400, "max_tokens is too large: this model supports at most 16384 completion tokens"),
    (400, "This model's maximum context length is 262144 tokens."),
    (400, "Invalid model parameter: top_k"),
    (400, "Invalid schema: anyOf must have at least 2 items"),
    (400, "messages: at least 1 message is required"),
    (422, "Invalid file format. Chat too large or missing. Format your file using newline delimited JSON"),  # Mistral
    (400, "File could not be fetched from url 'https://example.org/a.png'"),  # Mistral 3310
    (400, "Image file is too large"),
    (400, "Batch request 'k' contains unsupported 'image' content"),
    (400, "Streaming is not supported in the Batch API"),
    (400, "The specified bucket does not exist."),
    (401, "No access to the model"),
    (400, "No file provided"),
    (404, "Conversation conv_1 does not exist"),
]

OF_THE_FILE = [
    (404, "No such File object: file-0"),  # OpenAI
    (400, "Cannot find file file-0, or organization org does not have access to it."),
    (404, "File not found"),
    (404, "File files/f not found"),
    (404, "File with id file-abc-1 was not found."),
    (400, "The file 'file-abc' does not exist"),
    (400, "input_file_id file-abc not found"),
    (400, "Input file is not ready"),
    (404, "file-abc123 not found"),
]

OF_ALL_BATCHES = [
    (
        400,
        "Error code: 400 - {'error': {'code': 'invalidPayload', 'message': 'Invalid value for purpose.'}}",
    ),  # LiteLLM
    (422, "purpose: 'batch' is not one of ['assistants', 'vision']"),
    (500, "files_settings is not set, set it on your config.yaml file."),
    (404, "404 page not found"),
    (404, "Not Found"),
    (404, "HTTP 404"),
    (404, "Unknown request URL: POST /v1/batches"),
    (404, "Cannot POST /v1/files"),
    (403, "Batch API is not available for your account"),
    (400, "The Batch API is not enabled for this organization."),
    (400, "Batches are not supported."),
    (403, "Your plan does not include access to the batch API"),
]

TOO_SMALL = [
    (400, "Batch inference requires at least 100 requests per model; model m has 5."),
    (400, "A minimum of 100 records is required"),
    (400, "The job has fewer than 10 requests"),
    (422, "The minimum number of records is 100"),
    (400, "File must contain at least 1,000 rows"),
]

TOO_LARGE = [
    (400, "File is too large."),  # OpenAI
    (400, "The file exceeds the maximum file size of 100 MB"),
    (400, "Batch exceeds the maximum number of requests (50000)"),
    (413, "Payload Too Large"),
    (400, "The number of requests in the batch exceeds the limit of 5,000"),
    (422, "Too many requests in the batch: at most 2,000"),
    (429, "Batch rate limit exceeded. Batch contains 5 requests but only 2 requests remaining out of 2 RPM limit."),
    (429, "Batch contains 50,000 tokens but only 1,200 tokens remaining out of 60,000 TPM limit."),
]

NOT_NOW = [
    (429, "Batch contains 5 requests but only 0 requests remaining out of 2 RPM limit."),
    (429, "Too many requests"),
    (503, "The model is currently overloaded"),
    (500, "Model x is not available"),
]

NO_ROOM = [
    (400, "You have uploaded too many files"),
    (403, "The maximum number of files (1000) has been reached"),
    (400, "File count exceeds the limit of 10000"),
]

MEANT = {
    Verdict.REAL_TIME: OF_THE_MODEL,
    Verdict.NO: ABOUT_THE_REQUEST,
    Verdict.LATER: [*OF_THE_FILE, *NOT_NOW],
    Verdict.ABSENT: OF_ALL_BATCHES,
    Verdict.SMALL: TOO_SMALL,
    Verdict.LARGE: TOO_LARGE,
    Verdict.FULL: NO_ROOM,
}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_provider_reads_refusals_alike(provider: str) -> None:
    judged = PROVIDERS[provider].judge
    wrong = [
        (status, text, judged(status, Fault(text)))
        for verdict, texts in MEANT.items()
        for status, text in texts
        if judged(status, Fault(text)) is not verdict
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("status", "code", "param", "verdict"),
    [
        (400, "model_not_found", None, Verdict.REAL_TIME),
        (403, "not_available_for_plan", None, Verdict.REAL_TIME),
        (404, "DeploymentNotFound", None, Verdict.REAL_TIME),
        (400, "too_many_tasks", None, Verdict.LARGE),
        (400, "token_limit_exceeded", None, Verdict.FULL),
        (429, "insufficient_quota", None, Verdict.NO),
        (429, "organization_on_hold", None, Verdict.NO),
        (400, "invalid_request", "file_id", Verdict.LATER),
        (400, "invalid_request", "purpose", Verdict.ABSENT),
        (400, "invalid_request", "input_file_id", Verdict.NO),
        (405, None, None, Verdict.ABSENT),
        (402, None, None, Verdict.NO),
    ],
)
def test_codes_and_parameters(status: int, code: str | None, param: str | None, verdict: Verdict) -> None:
    assert refusals.judge(status, Fault("said in words of its own", code, param)) is verdict


@pytest.mark.parametrize(
    ("code", "message", "status"),
    [
        ("server_error", "m", 500),
        ("internal_server_error", "m", 500),
        ("batch_failed", "m", 500),
        ("INTERNAL", "m", 500),
        ("UNAVAILABLE", "m", 503),
        ("service_unavailable", "m", 503),
        ("DEADLINE_EXCEEDED", "m", 504),
        ("rate_limit_exceeded", "m", 429),
        ("ABORTED", "m", 409),
        ("502", "m", 502),
        ("404", "m", None),
        (None, "Internal server error", 500),
        (None, "System error. Please try this operation again.", 500),
        (None, "Failed to export data. Retrying may solve the problem.", 500),
        (None, "Failed to import data. Retrying may solve the problem.", None),
        ("INTERNAL", "Failed to import data", None),
        (None, "Service is temporarily unavailable", 503),
        (None, "Rate limit reached for requests", 429),
        (None, "validation failed: line 3", None),
        ("invalid_request", "Cannot find file f", None),
        ("token_limit_exceeded", "Please try again once some in_progress batches have been completed.", None),
        ("invalid_json_line", "An internal server error is no JSON", None),
    ],
)
def test_a_failed_job_stands_for_a_status_where_the_trouble_is_the_providers_own(
    code: str | None, message: str, status: int | None
) -> None:
    fault = refusals.job_fault(message, code)
    assert fault.status == status
    if status is not None:
        assert refusals.judge(status, fault) is Verdict.LATER


def test_a_job_for_which_there_was_no_room_waits_for_room() -> None:
    assert refusals.judge(429, refusals.job_fault("quota", "RESOURCE_EXHAUSTED")) is Verdict.FULL
    assert refusals.judge(429, Fault("quota", "RESOURCE_EXHAUSTED")) is Verdict.LATER
