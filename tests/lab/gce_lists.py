"""Lists: filtered, ordered, paged; and aggregated over every zone."""

from __future__ import annotations

import base64
import binascii
import bisect

import discovery
from gce_errors import ApiError, invalid
from gce_filters import BadFilter, compile_filter, fields_of
from gce_state import JSON, LINK, Call, Cloud

Entry = tuple[str, JSON]  # a key that sorts and is unique within the list, the item


def listed(cloud: Cloud, call: Call, schema: str, parent: str) -> JSON:
    """The answer of a list method over the resources right below `parent`."""
    entries = list(cloud.collection(parent))
    page, token = _page(call, _chosen(call, schema, entries))
    collection = parent.rsplit("/", 1)[-1]
    answer = _head(call, schema, parent, f"{schema[:1].lower()}{schema[1:]}List")
    if page:
        answer["items"] = [dict(item) for _, item in page]
    if token:
        answer["nextPageToken"] = token
    if not page and collection != "operations":
        answer["warning"] = _warning(
            "NO_RESULTS_ON_PAGE", parent, "There are no results on this page."
        )
    return answer


def aggregated(cloud: Cloud, call: Call, schema: str, collection: str, scopes: list[str]) -> JSON:
    """The answer of an aggregatedList method over scopes such as `zones/us-central1-a`."""
    lost = [s for s in scopes if s.split("/")[-1] in cloud.settings.unreachable_zones]
    if lost and not cloud.settings.partial_lists and not call.flag(discovery.PARTIAL_SUCCESS):
        raise ApiError(503, f"The zones {lost} cannot be reached.")
    entries = [
        (f"{scope}/{path}", item)
        for scope in scopes
        if scope not in lost
        for path, item in cloud.collection(f"{call.project}/{scope}/{collection}")
    ]
    page, token = _page(call, _chosen(call, schema, entries))
    items: JSON = {}
    for scope in scopes:
        name = f"'{scope}'"
        found = [item for key, item in page if key.startswith(f"{scope}/")]
        if scope in lost:
            warning = _warning("UNREACHABLE", scope, f"The scope {name} cannot be reached.")
            items[scope] = {"warning": warning}
        elif found:
            items[scope] = {collection: found}
        else:
            why = f"There are no results for scope {name} on this page."
            items[scope] = {"warning": _warning("NO_RESULTS_ON_PAGE", scope, why)}
    parent = f"{call.project}/aggregated/{collection}"
    kind = f"{schema[:1].lower()}{schema[1:]}AggregatedList"
    answer = {**_head(call, schema, parent, kind), "items": items}
    if lost:
        answer["unreachables"] = lost
    if token:
        answer["nextPageToken"] = token
    return answer


def _head(call: Call, schema: str, parent: str, kind: str) -> JSON:
    return {"kind": f"compute#{kind}", "id": parent, "selfLink": LINK + parent}


def _warning(code: str, scope: str, message: str) -> JSON:
    return {"code": code, "message": message, "data": [{"key": "scope", "value": scope}]}


def _chosen(call: Call, schema: str, entries: list[Entry]) -> list[Entry]:
    text = call.query.get("filter", "")
    try:
        test = compile_filter(text)
        unknown = fields_of(text) - set(discovery.load().schemas[schema]["properties"])
    except BadFilter as error:
        raise invalid("filter", text, f"Invalid list filter expression: {error}.") from error
    if unknown:
        raise invalid("filter", text, f"Invalid list filter expression: no field {unknown}.")
    chosen = sorted((entry for entry in entries if test(entry[1])), key=lambda entry: entry[0])
    order = call.query.get("orderBy", "name")
    if order == "creationTimestamp desc":
        chosen.sort(key=_made)
        chosen.reverse()
    elif order != "name":
        raise invalid("orderBy", order, "Only name and creationTimestamp desc are supported.")
    return chosen


def _made(entry: Entry) -> str:
    item = entry[1]
    return str(item.get("creationTimestamp") or item.get("insertTime"))


def _page(call: Call, entries: list[Entry]) -> tuple[list[Entry], str]:
    size = int(call.query.get("maxResults", "500")) or 500
    if size > 500:
        raise invalid("maxResults", size, "Values must be within the range of [0, 500].")
    token = call.query.get("pageToken", "")
    keys = [key for key, _ in entries]
    try:
        last = base64.urlsafe_b64decode(token).decode()
    except (binascii.Error, ValueError) as error:
        raise invalid("pageToken", token, "The page token is not of this list.") from error
    # What the last page ended with may be gone by now: its place among the names counts then.
    begin = keys.index(last) + 1 if last in keys else bisect.bisect_right(keys, last)
    page = entries[begin : begin + size]
    more = begin + size < len(entries)
    return page, base64.urlsafe_b64encode(page[-1][0].encode()).decode() if more else ""
