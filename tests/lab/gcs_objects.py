"""The JSON API's calls without an object's bytes: buckets, list, get, compose, copy, delete."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import gcs_conditions
from gce_errors import ApiError
from gcs_disk import Disk, Stored
from gcs_errors import bad, condition_not_met
from gcs_hash import combined
from gcs_wire import Answer, as_json

JSON = dict[str, Any]
Method = Callable[[Disk, Mapping[str, str], Mapping[str, str], JSON, str], Answer]

SOURCES = 32  # https://cloud.google.com/storage/docs/composite-objects
PAGE = 1000
# What a writer may say of an object; anything else that it sends is the server's to know.
SAID = (
    "cacheControl",
    "contentDisposition",
    "contentEncoding",
    "contentLanguage",
    "contentType",
    "customTime",
    "metadata",
    "storageClass",
)
SUMS = ("crc32c", "md5Hash")


def said(body: JSON) -> JSON:
    """What is kept of the resource that a writer sends."""
    return {name: body[name] for name in SAID if body.get(name) is not None}


def shown(stored: Stored, base: str) -> JSON:
    """An object's resource with its links."""
    resource = stored.resource
    at = f"b/{resource['bucket']}/o/{quote(resource['name'], safe='')}"
    return {
        **resource,
        "selfLink": f"{base}/storage/v1/{at}",
        "mediaLink": f"{base}/download/storage/v1/{at}"
        f"?generation={resource['generation']}&alt=media",
    }


def get_bucket(
    disk: Disk, path: Mapping[str, str], query: Mapping[str, str], body: JSON, base: str
) -> Answer:
    bucket = disk.bucket(path["bucket"])
    wanted = query.get("ifMetagenerationMatch")
    if wanted is not None and wanted != bucket["metageneration"]:
        raise condition_not_met()
    return as_json(_with_link(bucket, base))


def insert_bucket(
    disk: Disk, path: Mapping[str, str], query: Mapping[str, str], body: JSON, base: str
) -> Answer:
    kept = {name: body[name] for name in ("location", "labels", "storageClass") if name in body}
    return as_json(_with_link(disk.add_bucket(str(body.get("name", "")), **kept), base))


def list_buckets(
    disk: Disk, path: Mapping[str, str], query: Mapping[str, str], body: JSON, base: str
) -> Answer:
    prefix = query.get("prefix", "")
    found = [_with_link(each, base) for each in disk.buckets() if each["name"].startswith(prefix)]
    return as_json({"kind": "storage#buckets", "items": found})


def delete_bucket(
    disk: Disk, path: Mapping[str, str], query: Mapping[str, str], body: JSON, base: str
) -> Answer:
    disk.remove_bucket(path["bucket"])
    return Answer(204)


def _with_link(bucket: JSON, base: str) -> JSON:
    return {**bucket, "selfLink": f"{base}/storage/v1/b/{bucket['name']}"}


def get(
    disk: Disk, path: Mapping[str, str], query: Mapping[str, str], body: JSON, base: str
) -> Answer:
    stored = disk.get(path["bucket"], path["object"], query.get("generation", ""))
    gcs_conditions.check(stored, query, reading=True)
    return as_json(shown(stored, base))


def delete(
    disk: Disk, path: Mapping[str, str], query: Mapping[str, str], body: JSON, base: str
) -> Answer:
    disk.remove(
        path["bucket"],
        path["object"],
        gcs_conditions.writing(query),
        query.get("generation", ""),
    )
    return Answer(204)


def list_objects(
    disk: Disk, path: Mapping[str, str], query: Mapping[str, str], body: JSON, base: str
) -> Answer:
    """Names in the order of their bytes; a page counts items and prefixes together."""
    for name in ("matchGlob", "filter", "versions", "softDeleted", "includeTrailingDelimiter"):
        if query.get(name, "false") != "false":
            raise ApiError(501, f"The fake does not play the parameter {name}.")
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    after = _token(query.get("pageToken", ""))
    limit = min(int(query.get("maxResults", PAGE)) or PAGE, PAGE)
    items: list[JSON] = []
    prefixes: list[str] = []
    last = more = ""
    with disk.lock:
        for name in disk.names(path["bucket"]):
            if not name.startswith(prefix) or not _within(name, query):
                continue
            head, cut, _ = name[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            entry = prefix + head + cut if cut else name
            if entry.encode() <= after.encode() or entry in prefixes[-1:]:
                continue
            if len(items) + len(prefixes) == limit:
                more = last
                break
            last = entry
            if cut:
                prefixes.append(entry)
            else:
                items.append(shown(disk.get(path["bucket"], name), base))
    answer: JSON = {"kind": "storage#objects"}
    answer |= {"items": items} if items else {}
    answer |= {"prefixes": prefixes} if prefixes else {}
    answer |= {"nextPageToken": base64.b64encode(more.encode()).decode()} if more else {}
    return as_json(answer)


def _within(name: str, query: Mapping[str, str]) -> bool:
    start, end = query.get("startOffset", ""), query.get("endOffset", "")
    return start.encode() <= name.encode() and (not end or name.encode() < end.encode())


def _token(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise bad(f"Invalid page token: {text}") from error


def compose(
    disk: Disk, path: Mapping[str, str], query: Mapping[str, str], body: JSON, base: str
) -> Answer:
    bucket, name = path["destinationBucket"], path["destinationObject"]
    sources = body.get("sourceObjects") or []
    if not sources:
        raise ApiError(400, "You must provide at least one source component.", "required")
    if len(sources) > SOURCES:
        raise bad(
            f"The number of source components provided ({len(sources)}) exceeds the maximum "
            f"({SOURCES})."
        )
    with disk.lock:
        gcs_conditions.check(disk.find(bucket, name), query)
        found = [_source(disk, bucket, source) for source in sources]
        fields = {
            **said(body.get("destination") or {}),
            "crc32c": combined((each.resource["crc32c"], each.size) for each in found),
            "componentCount": sum(each.resource.get("componentCount", 1) for each in found),
        }
        parts = [part for each in found for part in disk.linked(bucket, each)]
        stored = disk.commit(bucket, name, parts, fields, gcs_conditions.writing(query))
        if body.get("deleteSourceObjects"):
            for each in {each.resource["name"] for each in found} - {name}:
                disk.remove(bucket, each, gcs_conditions.writing({}))
    return as_json(shown(stored, base))


def _source(disk: Disk, bucket: str, source: JSON) -> Stored:
    stored = disk.get(bucket, source["name"], str(source.get("generation") or ""))
    wanted = (source.get("objectPreconditions") or {}).get("ifGenerationMatch")
    if wanted is not None and int(wanted) != stored.generation:
        raise condition_not_met()
    return stored


def rewrite(
    disk: Disk, path: Mapping[str, str], query: Mapping[str, str], body: JSON, base: str
) -> Answer:
    """In one go, as Google does within one location and storage class."""
    if "rewriteToken" in query:
        raise bad("Invalid rewrite token.")
    stored = _copied(disk, path, query, body)
    return as_json(
        {
            "kind": "storage#rewriteResponse",
            "totalBytesRewritten": str(stored.size),
            "objectSize": str(stored.size),
            "done": True,
            "resource": shown(stored, base),
        }
    )


def copy(
    disk: Disk, path: Mapping[str, str], query: Mapping[str, str], body: JSON, base: str
) -> Answer:
    return as_json(shown(_copied(disk, path, query, body), base))


def _copied(disk: Disk, path: Mapping[str, str], query: Mapping[str, str], body: JSON) -> Stored:
    bucket = path["sourceBucket"]
    with disk.lock:
        disk.bucket(path["destinationBucket"])
        source = disk.get(bucket, path["sourceObject"], query.get("sourceGeneration", ""))
        gcs_conditions.check(source, query, prefix="ifSource")
        kept = (*SAID, *SUMS, "componentCount")
        fields = {name: source.resource[name] for name in kept if name in source.resource}
        return disk.commit(
            path["destinationBucket"],
            path["destinationObject"],
            disk.linked(bucket, source),
            {**fields, **said(body)},
            gcs_conditions.writing(query),
        )


METHODS: dict[str, Method] = {
    "storage.buckets.get": get_bucket,
    "storage.buckets.insert": insert_bucket,
    "storage.buckets.list": list_buckets,
    "storage.buckets.delete": delete_bucket,
    "storage.objects.get": get,
    "storage.objects.delete": delete,
    "storage.objects.list": list_objects,
    "storage.objects.compose": compose,
    "storage.objects.rewrite": rewrite,
    "storage.objects.copy": copy,
}
