"""The store behind the server: who may call, what goes wrong on purpose, which call it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gcs_downloads
import gcs_objects
from gce_errors import ApiError
from gcs_disk import Disk
from gcs_doc import Violation, wrong_body, wrong_call
from gcs_errors import bad
from gcs_faults import Fault, Faults, Log
from gcs_uploads import Uploads
from gcs_wire import Answer, Call, document

JSON = dict[str, Any]
Accept = Callable[[str], bool]

# What roles/storage.objectCreator lets an account do: no object is read, listed or deleted.
# https://cloud.google.com/storage/docs/access-control/iam-roles
CREATES = {"upload.media", "upload.multipart", "upload.resumable"}
READS = {
    "media.get",
    "xml.get",
    "xml.head",
    "storage.buckets.get",
    "storage.buckets.list",
    "storage.objects.get",
    "storage.objects.list",
}


class Store:
    """The calls over a directory."""

    def __init__(
        self,
        directory: Path,
        accept: Accept | None,
        read_only: Accept | None,
        md5: bool,
        create_only: Accept | None = None,
    ) -> None:
        self.disk = Disk(directory)
        self.faults = Faults()
        self.log = Log()
        self.uploads = Uploads(self.disk, md5)
        self.violations: list[Violation] = self.uploads.violations
        self._accept = accept
        self._read_only = read_only
        self._create_only = create_only
        self._uploading = {
            "upload.media": self.uploads.media,
            "upload.multipart": self.uploads.multipart,
            "upload.resumable": self.uploads.start,
            "upload.chunk": self.uploads.chunk,
            "upload.query": self.uploads.chunk,
            "upload.cancel": self.uploads.cancel,
        }

    def answer(self, call: Call, fault: Fault) -> Answer:
        """What goes back.

        Raises:
            ApiError: it is refused.
            Disconnected: nothing goes back.
        """
        self._admit(call)
        wrong = wrong_call(call.route)
        if wrong:
            self.violations += wrong
            raise bad(wrong[0].message)
        kind = call.route.kind
        if kind in ("media.get", "xml.get", "xml.head"):
            return gcs_downloads.read(self.disk, call, ignore_range=fault.ignore_range)
        if kind in self._uploading:
            answer = self._uploading[kind](call)
        elif kind in gcs_objects.METHODS:
            answer = self._documented(call)
        elif call.route.method:
            raise ApiError(501, f"The fake does not play {kind}.")
        else:
            self.violations.append(Violation("request", "", call.route.kind, "no such call"))
            raise ApiError(404, "Not Found")
        self._check(call, answer)
        return answer

    def _admit(self, call: Call) -> None:
        scheme, _, token = call.headers.get("Authorization", "").partition(" ")
        token = token if scheme == "Bearer" else ""
        if call.route.kind in ("upload.chunk", "upload.query", "upload.cancel") and not token:
            return  # a session's address is a key of its own
        if self._accept is not None and not self._accept(token):
            raise ApiError(401, "Invalid Credentials", location="Authorization")
        if call.route.kind not in READS and self._read_only and self._read_only(token):
            raise ApiError(403, "Insufficient Permission", "insufficientPermissions")
        if call.route.kind not in CREATES and self._create_only and self._create_only(token):
            raise ApiError(403, "Caller does not have access to the object.", "forbidden")

    def _documented(self, call: Call) -> Answer:
        kind, method = call.route.kind, call.route.method
        body = document(call.body.whole())
        if method and method.request:
            wrong = wrong_body(kind, method.request, body, "request")
            if wrong:
                self.violations += wrong
                raise bad(wrong[0].message)
        return gcs_objects.METHODS[kind](self.disk, call.route.path, call.asked, body, call.base)

    def _check(self, call: Call, answer: Answer) -> None:
        """Keep what the document does not allow of an answer."""
        if answer.status != 200 or not answer.body:
            return
        upload = call.route.kind.startswith("upload.")
        schema = "Object" if upload or not call.route.method else call.route.method.response
        value: JSON = json.loads(answer.body)
        self.violations += wrong_body(call.route.kind, schema, value, "response")
