"""Lines of JSON, which Schemathesis doesn't know: the document describes one line of them."""

import json

import schemathesis

LINES = ("application/x-ndjson", "application/ndjson", "application/jsonl")


@schemathesis.serializer(*LINES)
def lines(_context, value):
    """What was generated for one line, twice: the second must find what the first has done."""
    if isinstance(value, bytes):
        return {"data": value}
    line = json.dumps(value).encode() + b"\n"
    return {"data": line + line}


@schemathesis.deserializer(*LINES)
def line(_context, response):
    """One line; a whole answer is taken apart by the check below."""
    if len(response.content.splitlines()) != 1:
        raise NotImplementedError
    return json.loads(response.content)


@schemathesis.check
def each_line_is_described(_context, response, case):
    """Every line of an answer fits what the document says of one."""
    if response.headers.get("content-type", [""])[0] not in LINES:
        return
    for content in response.content.splitlines():
        case.operation.validate_response(
            schemathesis.Response(
                status_code=response.status_code,
                headers=response.headers,
                content=content,
                request=response.request,
                elapsed=response.elapsed,
                verify=response.verify,
            ),
            case=case,
        )
