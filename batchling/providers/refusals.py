"""What a refusal means, by its status, code and wording, whichever provider it comes from.

Facts: real texts of the providers, of LiteLLM and of other gateways, as quoted in public issues and captures of 2025
and 2026; `tests/providers/test_refusals.py` has them with their sources. Providers word the same thing in many ways,
and copy each other, so one list for all of them covers more than a list for each.
"""

from __future__ import annotations

import re

from batchling.core.model import Fault
from batchling.core.retry import passing
from batchling.providers.base import Verdict
from batchling.providers.reading import error_status

_FULL = frozenset({"token_limit_exceeded"})
_LARGE = frozenset({"too_many_tasks", "request_too_large"})
_MODEL = frozenset(
    {
        "deploymentnotfound",
        "invalid_model",
        "model_access_denied",
        "model_not_available",
        "model_not_found",
        "model_not_supported",
        "not_available_for_plan",
        "unknown_model",
        "unsupported_model",
        "zdr-retention",
    }
)
"""Codes for a model that is unknown, has no batch form, or is not available to this account. Real time shows which."""
_NO_MONEY = frozenset(
    {
        "billing_hard_limit_reached",
        "billing_not_active",
        "contract_spend_limit_reached",
        "enforced_spend_limit_reached",
        "insufficient_quota",
        "organization_on_hold",
    }
)
"""Codes of a 429 that waiting does not resolve."""

_STATUS_OF_CODE = {
    **dict.fromkeys(
        [
            "api_error",
            "batch_failed",
            "data_loss",
            "internal",
            "internal_error",
            "internal_server_error",
            "internalerror",
            "internalservererror",
            "processing_error",
            "provider_error",
            "server",
            "server_error",
            "service_error",
            "system_error",
            "unknown",
            "unknown_error",
            "upstream_error",
        ],
        500,
    ),
    **dict.fromkeys(
        [
            "engine_overloaded",
            "overloaded",
            "overloaded_error",
            "provider_overloaded",
            "provider_unavailable",
            "service_unavailable",
            "service_unavailable_error",
            "serviceunavailable",
            "unavailable",
        ],
        503,
    ),
    **dict.fromkeys(["deadline_exceeded", "gateway_timeout", "timeout", "timeout_error"], 504),
    **dict.fromkeys(
        [
            "rate_limit_error",
            "rate_limit_exceeded",
            "rate_limited",
            "resource_exhausted",
            "throttled",
            "throttling",
            "throttling_error",
            "too_many_requests",
        ],
        429,
    ),
    "aborted": 409,
}
"""The HTTP status that the code of a failed job stands for, where the failure is the provider's own."""

# Patterns are compiled when they are first used: few programs meet a refusal, and all of them pay for the import.

_STATUS_OF_TEXT = tuple(
    (f"(?i){pattern}", status)
    for pattern, status in (
        (r"\brate.?limit(s|ed)?\b(?! (setting|option|parameter))|\btoo many requests\b(?! in)|\bthrottl", 429),
        (r"\b(service|temporarily|currently) (is )?unavailable\b|\boverloaded\b|\bat capacity\b", 503),
        (r"\bgateway time-?out\b|\bdeadline exceeded\b|\btimed out\b", 504),
        (
            (
                r"\b(internal|system|server)( server)? error\b|\bunexpected error\b|\bfailed to export data\b"
                r"|\bretrying may\b|\btry this operation again\b|\bsomething went wrong\b"
                r"|\b(bad gateway|upstream (error|failure))\b"
                r"|\berror (occurred )?while processing (the|your) (batch|job)\b"
            ),
            500,
        ),
    )
)
_SENT = r"(?i)failed to import data"
"""Wording of a job's failure that concerns its rows, whatever else the message says."""
_WHAT_WAS_SENT = r"invalid|duplicate|mismatch|missing|unsupported|empty|limit_exceeded|not_found|model|url"
"""Parts of the codes of faults that concern what was sent."""


def _words(*patterns: str) -> str:
    return f"(?is){'|'.join(patterns)}"


_NOT = r"(?:(?:is|was|are|were|has|does|do|could|can)(?:n't|\s+not)|cannot|can't|not)(?:\s+(?:be|been|yet|currently))*"
_PART = (
    r"(?:argument|audio|content|field|feature|file|format|image|input|messages?|option|output|parameter|property|role|"
    r"schema|stream\w*|temperature|tool\w*|value|video)s?"
)
"""Parts of a request that a refusal may be about, in which case it is not about the model."""
_UP_TO = rf"(?:(?!\b{_PART}\b).)"
_WHERE = (
    r"(?=\s*(?:$|[.,;:!)\]]|or\b|(?:for|in|by|on|at|with|via|to|under)\b[^.]{0,60}?"
    r"\b(?:batch\w*|account|api version|key|location|organi[sz]ation|plan|project|region|tier|workspace)\b))"
)
_SUBJECT = (
    r"\b(?:publisher ?)?(?:models?|deployments?)\b[\s:/=]*(?:(?:id|name|version)\s+)?"
    r"(?:[`'\"]?[\w.:/@+-]+[`'\"]?,?\s+)??"
)

_NO_MODEL = _words(
    rf"{_SUBJECT}{_NOT}\s+(?:exist|found)\b",
    rf"{_SUBJECT}{_NOT}\s+(?:available|accessible|supported|enabled|allowed|deployed)\b{_WHERE}",
    r"\b(?:unknown|no such|invalid|unsupported|unrecogni[sz]ed)\s+(?:batch )?(?:model|deployment)\b"
    rf"(?!\s+(?:{_PART}|config\w*|settings?|response|type|behaviou?r)\b)",
    r"\b(?:no|not have|n't have|without|lacks?)\s+(?:the )?(?:access|permissions?)\s+to\s+(?:use |access )?"
    r"(?:(?:the|this|that) )?(?:requested )?(?:publisher ?)?(?:model|deployment)\b",
    r"\b(?:not|n't)\s+(?:authori[sz]ed|allowed|permitted|entitled|enabled|eligible)\s+(?:to|for)\s+(?:use |access )?"
    r"(?:(?:the|this|that) )?(?:publisher ?)?(?:model|deployment)\b",
    r"模型不存在|模型.{0,30}(不支持|没有权限|无权)|不支持.{0,20}模型|无权.{0,20}模型",
)
_NO_BATCH_OF_MODEL = _words(
    rf"\b(?:models?|deployments?|sku)\b{_UP_TO}{{0,120}}?\b(?:not|n't|cannot|no)\b{_UP_TO}{{0,60}}?\bbatch",
    rf"\bbatch(?:es|ing)?(?:\s\w+){{0,3}}?\s+{_NOT}\s+(?:supported|available|enabled|offered|allowed|possible)"
    r"\s+(?:for|by|with|on)\s+(?:(?:the|this|that|your)\s+)?(?:\w+\s+)?(?:model|deployment|sku)",
    r"\b(?:not|n't|no)\b.{0,40}:batch\b",
    r"\buse the (?:sync|synchronous|real-?time|standard|non-batch) (?:api|endpoint)\b",
    r"\bzdr\b|\bzero[- ]data[- ]retention\b",
    r"\bdeployment\b.{0,120}\b(?:global ?batch|data ?zone ?batch|batch deployment)",
)
_NO_UPSTREAM = _words(r"files_settings is not set|LiteLLM doesn't support .{1,80} for 'create_(?:file|batch)'")
"""What a LiteLLM proxy returns, with 500 or 400, when it has no provider to forward files and jobs to."""
_NO_BATCHES = _words(
    r"\b(?:invalid|unsupported|unknown) (?:value )?(?:for )?[`'\"]?purpose\b",
    r"\bpurpose\b.{0,60}\b(?:invalid|not (?:one of|supported|valid|allowed))",
    r"\bbatch(?:es)?(?: api| processing| inference| endpoint)?\s+"
    rf"(?:{_NOT}|(?:is|are)\s+disabled)\s*(?:supported|available|enabled|implemented)?"
    r"(?=\s*(?:$|[.,;!)]|(?:for|on|in|by|at|to|with) (?:the |this |your )?"
    r"(?:account|api key|gateway|key|organi[sz]ation|plan|project|provider|proxy|region|team|tier|user|workspace)\b))",
    r"\b(?:account|key|organi[sz]ation|plan|project|subscription|team|tier|workspace)\b[^.]{0,60}\b(?:not|n't|no)\b[^.]{0,40}"
    r"\b(?:access|allow\w*|eligible|enabled|entitled|include|permission)\b[^.]{0,40}\bbatch",
)
_NO_SUCH_CALL = _words(
    r"^\W*(?:http 404|(?:404 )?(?:page )?not[ _]found)\W*$",
    r"\b(?:cannot|can't) post\b",
    r"\b(?:unknown|invalid|unrecogni[sz]ed|no such) (?:request )?(?:url|path|route|endpoint)\b",
    r"\b(?:url|path|route|page)\b.{0,80}\bnot (?:be )?found\b",
)
_NO_FILE = _words(
    r"\bno (?:such )?(?:input |batch )?file\b(?! (?:was |is )?(?:provided|uploaded|given|attached))",
    r"\b(?:cannot|can't|could not|couldn't|unable to|failed to) (?:find|locate|access|read|open|load|retrieve) "
    r"(?:the |your )?(?:input |batch |requested )?files?\b(?!.{0,80}\burl\b)",
    rf"\b(?:input_)?file(?:s\b|_id\b|[- ]id\b|[-\w]*)"
    rf"(?:\s+(?:with )?(?:id\s+)?[`'\"]?[\w./:-]+[`'\"]?)?\s+{_NOT}\s+(?:found|exist|ready|processed)\b",
    r"文件不存在",
)
_SMALL = _words(
    r"\bat least ([\d,]{1,12}) (?:requests|records|rows|lines|prompts|examples)\b",
    r"\b(?:fewer|less) than (?:the minimum (?:of )?)?([\d,]{1,12}) (?:requests|records|rows|lines|prompts|examples)\b",
    r"\bminimum(?: batch size)?(?: number)?(?: is| of|:)* ([\d,]{1,12})"
    r" (?:requests|records|rows|lines|prompts|examples)\b",
    r"\bminimum (?:number of )?(?:requests|records|rows|lines|prompts|examples)\b[^\d.]{0,60}([\d,]{1,12})",
)
_TOO_LARGE = _words(
    r"(?<!image )(?<!audio )(?<!video )(?<!pdf )\bfile(?: size)? is too (?:large|big)\b",
    r"\b(?:exceed\w*|more than|over|above)\b[^.]{0,40}\b(?:max\w*|limit)\b[^.]{0,40}"
    r"\b(?:file size|batch size|(?:number of )?(?:requests|records|rows|lines|tasks)|"
    r"size of (?:the |a )?(?:file|batch))\b(?! per)",
    r"\b(?:file size|batch size|size of the (?:file|batch)|number of (?:requests|records|rows|lines|tasks))\b[^.]{0,60}"
    r"\b(?:exceed\w*|too (?:large|many|big)|larger than|over the limit)",
    r"\btoo many (?:requests|records|rows|lines|tasks) in (?:the |this |a |one )?(?:batch|file|job)\b",
    r"\bbatch is too (?:large|big)\b",
)
_TOO_MANY_FILES = _words(
    r"\btoo many files\b",
    r"\b(?:max\w*|limit)\b[^.]{0,40}\b(?:number of |count of )?(?:uploaded |active |batch )?files\b(?! size)",
    r"\bfiles?(?: count| number| storage| quota)+\b[^.]{0,40}\b(?:exceed\w*|limit|reached|full)\b",
    r"文件(?:数量|总数).{0,20}(?:超|上限)",
)
_ALLOWANCE = _words(
    r"\bcontains ([\d,]{1,12}) (?:\w+ )?(?:requests|tokens)\b.{0,60}?\bonly ([\d,]{1,12}) (?:\w+ )?(?:remaining|left)\b"
)
"""How many requests or tokens the batch has, and how many are left of the account's rate limit (LiteLLM)."""

_OF_A_REQUEST = (400, 403, 404, 413, 422, 429)
"""Statuses that refuse the request itself; the texts of other statuses are not searched."""


def judge(status: int, fault: Fault) -> Verdict:
    """What a refusal means for the batch. `status` is that of a call or of a row, or the one that a job's fault stands
    for."""
    code = (fault.code or "").lower()
    if code in _FULL or (code == "resource_exhausted" and (status == 400 or fault.status == 429)):
        return Verdict.FULL
    if re.search(_NO_UPSTREAM, fault.message) or (status in (405, 501) and fault.status is None):
        return Verdict.ABSENT
    if status in _OF_A_REQUEST and (known := _by_words(status, code, fault)):
        return known
    if status == 413 or code in _LARGE:
        return Verdict.LARGE
    passes = passing(status) or fault.status == 409  # a job that was aborted
    return Verdict.LATER if passes and code not in _NO_MONEY else Verdict.NO


def _by_words(status: int, code: str, fault: Fault) -> Verdict | None:
    text = fault.message
    if allowance := re.search(_ALLOWANCE, text):
        wanted, left = map(_number, allowance.groups())
        return Verdict.LARGE if wanted > left > 0 else Verdict.LATER
    if any(_number(least) > 1 for found in re.finditer(_SMALL, text) for least in found.groups() if least):
        return Verdict.SMALL
    if code in _MODEL:
        return Verdict.REAL_TIME
    if (fault.param == "file_id" and status in (400, 404)) or re.search(_NO_FILE, text):
        return Verdict.LATER  # right after its upload
    if fault.param == "purpose" or re.search(_NO_BATCHES, text):
        return Verdict.ABSENT
    if status != 429 and (re.search(_NO_MODEL, text) or re.search(_NO_BATCH_OF_MODEL, text)):
        return Verdict.REAL_TIME
    if re.search(_TOO_LARGE, text):
        return Verdict.LARGE
    if re.search(_TOO_MANY_FILES, text):
        return Verdict.FULL
    return Verdict.ABSENT if status == 404 and re.search(_NO_SUCH_CALL, text) else None


def _number(digits: str) -> int:
    return int(digits.replace(",", "") or "0")


def job_fault(message: str, code: str | None = None, param: str | None = None, line: int | None = None) -> Fault:
    """An error of a whole job, with the HTTP status that it stands for where the failure is the provider's own."""
    return Fault(message, code, param, line, _own_trouble(message, (code or "").lower()))


def _own_trouble(message: str, code: str) -> int | None:
    if re.search(_SENT, message):
        return None
    if code in _STATUS_OF_CODE:
        return _STATUS_OF_CODE[code]
    if (status := error_status(code)) is not None:
        return status if passing(status) or status == 409 else None
    if re.search(_WHAT_WAS_SENT, code):
        return None
    return next((status for words, status in _STATUS_OF_TEXT if re.search(words, message)), None)
