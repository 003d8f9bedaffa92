"""What schemathesis has to know about this API beside openapi.json.

Two encodings that a schema cannot tell, two promises that it makes in prose, and every exclusion:
what a check calls a failure and the design means, each as narrow as it can be told.
"""

import gzip
import json
import os
import zlib

import schemathesis
from schemathesis.core.failures import AcceptedNegativeData, ServerError
from schemathesis.core.parameters import ParameterLocation
from schemathesis.openapi.checks import (
    MissingHeaderNotRejected,
    RejectedPositiveData,
    UnsupportedMethodResponse,
)

NDJSON = "application/x-ndjson"


@schemathesis.hook
def before_load_schema(_context, document):
    """Tells what lines are made of, and whether the server at hand has a token."""
    content = document["paths"]["/metrics"]["post"]["requestBody"]["content"]
    # OpenAPI 3.1 has no word for "JSON values, one a line"; the serializer below has.
    metric = {"$ref": "#/components/schemas/Metric"}
    content[NDJSON]["schema"] = {"type": "array", "items": metric, "minItems": 1}
    if "API_TOKEN" in os.environ:
        for path in document["paths"].values():
            for operation in path.values():
                if isinstance(operation, dict) and "security" in operation:
                    operation["security"].remove({})


PROFILES = ("/debug/pprof/profile", "/debug/pprof/flamegraph")
PROFILE_SECONDS_MAX = 60


@schemathesis.hook
def before_call(_context, case, _kwargs):
    """A profile takes as long as was asked for: whatever is allowed is asked for as one second."""
    if case.method == "GET" and case.path in PROFILES and takes_a_profile(case.query or {}):
        case.query = {**(case.query or {}), "seconds": 1}


def takes_a_profile(query):
    """Absent, or a number that the document allows, as text or not, the first if there are several;
    what it forbids is sent as it is."""
    seconds = query.get("seconds", 1)
    if isinstance(seconds, list):
        seconds = seconds[0] if seconds else 1
    text = str(seconds)
    return text.isascii() and text.isdigit() and 1 <= int(text) <= PROFILE_SECONDS_MAX


def encoded(case, value):
    """A body as it is sent, in the coding that the request says."""
    body = value if isinstance(value, bytes) else value.encode()
    coding = (case.headers or {}).get("Content-Encoding")
    if coding == "gzip":
        return gzip.compress(body, mtime=0)
    if coding == "deflate":
        return zlib.compress(body)
    if coding == "zstd":
        return zstd(body)
    return body


ZSTD_BLOCK_BYTES = 128 * 1024


def zstd(body):
    """A frame of blocks that are not compressed (RFC 8878, section 3.1.1): all that Python's own
    library can make of one."""
    frame = b"\x28\xb5\x2f\xfd\x00\x50"
    starts = range(0, max(len(body), 1), ZSTD_BLOCK_BYTES)
    for start in starts:
        block = body[start : start + ZSTD_BLOCK_BYTES]
        is_last = start == starts[-1]
        frame += (len(block) << 3 | is_last).to_bytes(3, "little") + block
    return frame


def json_text(value):
    """JSON; raw bytes, of which some wrong bodies are made, stand as a string in it."""
    return json.dumps(value, default=lambda raw: raw.decode("latin-1"))


@schemathesis.serializer("application/json")
def as_json(context, value):
    return encoded(context.case, value if isinstance(value, bytes) else json_text(value))


@schemathesis.serializer(NDJSON)
def as_lines(context, value):
    if not isinstance(value, (bytes, str)):
        lines = value if isinstance(value, list) else [value]
        value = "".join(json_text(line) + "\n" for line in lines)
    return encoded(context.case, value)


@schemathesis.serializer("text/csv", "text/plain")
def as_text(context, value):
    return encoded(context.case, value if isinstance(value, (bytes, str)) else json_text(value))


@schemathesis.check
def every_answer_has_its_fields(_context, response, case):
    """`info.description`: every answer has a date, a type and a length, but for the HEAD of a
    profile, and for one without content."""
    fields = {"date", "content-type", "content-length"}
    if response.status_code in (204, 304):
        fields = {"date"}
    if response.request.method == "HEAD" and case.path in PROFILES:
        fields.discard("content-length")
    missing = fields - set(response.headers)
    assert not missing, f"an answer without {sorted(missing)}"


@schemathesis.check
def problems_say_their_status(_context, response, case):
    """`Problem.status` is the status of the answer, and nothing else is an error; but lines have
    errors of their own."""
    if response.status_code >= 400 and case.method != "HEAD":
        if is_writing(case) and response.headers["content-type"] == ["application/json"]:
            return
        assert response.headers["content-type"] == ["application/problem+json"]
        assert response.json()["status"] == response.status_code


def is_ingestion(case):
    return case.method == "POST" and case.path == "/metrics"


def is_writing(case):
    return case.method == "POST" and case.path in ("/write", "/api/v2/write")


def is_no_line(failure, case, response):
    """A schema cannot tell what is line protocol."""
    is_about_it = isinstance(failure, RejectedPositiveData) and is_writing(case)
    if not is_about_it or response.status_code != 400:
        return False
    error = response.json()
    message = error.get("message") or error.get("error") or ""
    # What has a zero among its first bytes is UTF-16 or UTF-32, as no text is that is meant.
    causes = ("expected an event", "expected UTF-8")
    return "lines rejected" in message or message.startswith(causes)


def is_no_table(failure, case, response):
    """A schema cannot tell what is CSV with the right columns, and one row of it or more."""
    is_about_it = isinstance(failure, RejectedPositiveData) and is_ingestion(case)
    return is_about_it and response.status_code == 400 and case.media_type == "text/csv"


def is_any_query(failure, case, response):
    """The query of clients of InfluxDB has much without a meaning here, and what is given twice is
    taken once; an empty `Content-Encoding` is none (RFC 9110, section 5.6.1). A body of any type
    is read as lines."""
    is_about_it = isinstance(failure, AcceptedNegativeData) and is_writing(case)
    return is_about_it and response.status_code == 204


def is_unknown_method(failure, _case, response):
    """QUERY is none of the methods of RFC 9110 and 5789 that this server knows, and section 9.1 of
    RFC 9110 wants 501 for those: 405 is for a method that is known."""
    is_about_it = isinstance(failure, (ServerError, UnsupportedMethodResponse))
    return is_about_it and response.request.method == "QUERY" and response.status_code == 501


def is_told_of_bad_events(failure, case, response):
    """A batch is taken event by event: with bad ones and a good one in it, it is a 202 that names
    the bad ones."""
    is_about_it = isinstance(failure, AcceptedNegativeData) and is_ingestion(case)
    return is_about_it and response.status_code == 202 and response.json().get("rejected", 0) > 0


def is_unlucky_timestamp(failure, case, response):
    """A schema cannot tell what is more than ten minutes ahead, or before 1970 by its offset; and
    it calls `17.0` an integer, which is no device's number. Every error has to be one of these."""
    is_about_it = isinstance(failure, RejectedPositiveData) and is_ingestion(case)
    if not is_about_it or response.status_code != 400:
        return False
    errors = response.json().get("errors", [])
    events = case.body if isinstance(case.body, list) else [case.body]
    return bool(errors) and all(
        "ahead of the server's clock" in error["detail"]
        or is_before_1970(named(events, error))
        or isinstance(named(events, error), float)
        for error in errors
    )


def named(events, error):
    """The value of the device id or the time that an error names: a field is not excused."""
    name = error["detail"].partition(":")[0]
    is_excusable = name in ("device_id", "timestamp", "deviceId", "sensor", "ts", "time")
    return events[error["index"]].get(name) if is_excusable else None


def is_before_1970(timestamp):
    return isinstance(timestamp, str) and timestamp.startswith("1970-01-01")


def is_question_about_any_key(failure, case, response):
    """OPTIONS asks what a path takes, not whether something is stored there."""
    is_about_it = isinstance(failure, AcceptedNegativeData) and case.method == "OPTIONS"
    paths = ("/metrics/{key}", "/devices/{id}", "/devices/{id}/latest", "/page/{part}")
    return is_about_it and case.path in paths and response.status_code == 200


def is_of_another_order(failure, case, response):
    """A schema cannot tell that `field` belongs to one order, and a cursor to its own."""
    is_about_it = isinstance(failure, RejectedPositiveData) and case.path == "/devices"
    if not is_about_it or response.status_code != 400:
        return False
    query = case.query or {}
    sort = query.get("sort", "id")
    return ("field" in query and sort != "z") or "after" in query


def is_of_another_kind(failure, case, response):
    """A schema cannot tell that a cursor belongs to one kind of findings."""
    is_about_it = isinstance(failure, RejectedPositiveData) and case.path == "/anomalies"
    if not is_about_it or response.status_code != 400:
        return False
    query = case.query or {}
    letter = str(query.get("since", "")).partition(".")[2][:1]
    return {"a": "anomaly", "n": "novelty"}.get(letter) != query.get("kind")


def is_without_a_fleet(failure, _case, response):
    """The document is the same with and without `--fleet`, and the server at hand is in none."""
    if not isinstance(failure, RejectedPositiveData) or response.status_code != 400:
        return False
    return response.json()["detail"].startswith("scope: this instance is in no fleet")


def is_empty_coding(failure, case, response):
    """An empty `Content-Encoding` is a list without a coding (RFC 9110, section 5.6.1)."""
    is_about_it = isinstance(failure, AcceptedNegativeData) and is_ingestion(case)
    if not is_about_it or case.meta.is_negative_at(ParameterLocation.BODY):
        return False
    return (response.request.headers.get("Content-Encoding") or "").strip() == ""


def is_forbidden_page(failure, case, response):
    """Who may look at /debug/ depends on where the request comes from as well as on a token, so
    the answer without one is 403, without a challenge to authenticate."""
    is_about_it = isinstance(failure, MissingHeaderNotRejected)
    return is_about_it and case.path.startswith("/debug/") and response.status_code == 403


EXCLUSIONS = (
    is_no_line,
    is_no_table,
    is_any_query,
    is_unknown_method,
    is_told_of_bad_events,
    is_unlucky_timestamp,
    is_question_about_any_key,
    is_of_another_order,
    is_of_another_kind,
    is_without_a_fleet,
    is_empty_coding,
    is_forbidden_page,
)


@schemathesis.hook
def filter_failure(_context, failure, case, response):
    """Whether it is one."""
    return not any(excuses(failure, case, response) for excuses in EXCLUSIONS)
