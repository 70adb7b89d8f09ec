"""What a failure of Google Cloud Storage means, and what an operator is told of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from yoyo.drivers.gcs.session import LOGIN
from yoyo.errors import (
    ArtefactMissing,
    DriverUnavailable,
    StoreConflict,
    StoreDenied,
    StoreFull,
    StoreUnavailable,
    YoyoError,
)

_MESSAGE_CHARS: Final = 300
# Reasons in the error documents of the JSON API that speak of room, whatever the status is:
# https://cloud.google.com/storage/docs/json_api/v1/status-codes
_FULL_REASONS: Final = ("quotaExceeded", "storageQuotaExceeded", "uploadTooLarge")


@contextmanager
def wrapped(address: str) -> Iterator[None]:
    """Turn whatever the libraries raise into an error for the operator."""
    try:
        yield
    except YoyoError:
        raise
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith(("google", "requests")):
            raise
        raise DriverUnavailable(
            "The store in Google Cloud Storage cannot be used.",
            why=f"The module {error.name} is not installed.",
            fix="Run: pip install 'yoyo[gcs]'",
        ) from error
    except Exception as error:
        # The address of an upload in progress lets everybody write to it who knows it.
        raise translated(address, error) from (None if "upload_id" in str(error) else error)


def translated(address: str, error: Exception) -> Exception:
    """The operator's error for a library's; a mistake of the program stays what it is."""
    from google.api_core.exceptions import GoogleAPICallError, RetryError
    from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, TransportError
    from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
    from requests.exceptions import RequestException
    from urllib3.exceptions import HTTPError

    if isinstance(error, RetryError) and isinstance(error.cause, Exception):
        error = error.cause
    if isinstance(error, (GoogleAPICallError, InvalidResponse)):
        return refused(address, _status(error), *said(error.response))
    if isinstance(error, TransportError):
        return unavailable(address, "Google's token service gave no answer.")
    if isinstance(error, GoogleAuthError):
        return _without_token(none=isinstance(error, DefaultCredentialsError))
    if isinstance(error, DataCorruption):
        return unavailable(address, "Bytes were changed on the way (their CRC32C differs).")
    if isinstance(error, (RequestException, HTTPError, OSError)):
        return unavailable(address, f"The connection broke ({_cause(error)}).")
    return error


def _without_token(*, none: bool) -> StoreDenied:
    if none:
        return StoreDenied(
            "There are no credentials for the store.",
            why="Application Default Credentials were not found, or their file is malformed.",
            fix=f"Run: {LOGIN}. Or set store_credentials to a service account's key file.",
        )
    return StoreDenied(
        "The credentials for the store are no longer accepted.",
        why="Google gave no token for them: they were revoked, or have expired.",
        fix=f"Run: {LOGIN}. A service account needs a new key file.",
    )


def refused(address: str, status: int, reason: str, message: str) -> YoyoError:
    """The error for an HTTP status; `reason` and `message` are Google's."""
    why = f"Cloud Storage answered {status}" + (f": {message}" if message else ".")
    if status in (413, 507) or reason in _FULL_REASONS:
        return StoreFull(
            f"There is no room for {address}.",
            why=why,
            fix="See what can go: yoyo weights gc. Or have the quota of the project raised.",
        )
    if status == 401:
        return StoreDenied(
            "The store did not accept the credentials.",
            why=why,
            fix=f"Run: {LOGIN}. A service account needs a new key file.",
        )
    if status == 403:
        return StoreDenied(
            f"{address} may not be used with these credentials.",
            why=why,
            fix="Grant the account roles/storage.objectUser on the bucket (the permissions "
            "storage.objects.get, list, create and delete), or use another account: "
            f"{LOGIN}.",
        )
    if status == 404:
        return missing(address)
    if status == 412:
        return changed(address)
    return unavailable(address, why)


def missing(address: str) -> ArtefactMissing:
    """There is no such object."""
    return ArtefactMissing(
        f"{address} is not there.",
        why="The store has no object of that key.",
        fix="See what is there: yoyo weights ls.",
    )


def no_bucket(bucket: str) -> StoreDenied:
    """There is no such bucket, or none that these credentials may know of."""
    return StoreDenied(
        f"The bucket {bucket} does not exist.",
        why="Cloud Storage knows no bucket of that name.",
        fix=f"Set another store, or make it: gcloud storage buckets create gs://{bucket}",
    )


def changed(address: str) -> StoreConflict:
    """The object has another generation."""
    return StoreConflict(
        f"{address} was changed by somebody else.",
        why="It has another generation than the one that was read.",
        fix="Run the command again: it then works with what is there now.",
    )


def unavailable(address: str, why: str) -> StoreUnavailable:
    """No usable answer."""
    return StoreUnavailable(
        f"{address} could not be used.",
        why=why,
        fix="Run the command again; it goes on where it was. Google's own state is at "
        "https://status.cloud.google.com.",
    )


def names_bucket(error: Exception) -> bool:
    """Whether a library's 404 is about the bucket."""
    return says_bucket(said(getattr(error, "response", None))[1])


def says_bucket(message: str) -> bool:
    """Whether Google's message to a 404 is about the bucket; only its text tells."""
    return "bucket does not exist" in message.lower()


def starts_over(error: Exception) -> bool:
    """Whether an upload failed so that going on is no use and beginning again is.

    Google forgot it, has other bytes than were sent, or is at another place than the library.
    """
    from google.api_core.exceptions import GoogleAPICallError
    from google.cloud.storage.exceptions import DataCorruption, InvalidResponse

    # Google's own refusals of credentials are ValueErrors as well; they are meant to last.
    if isinstance(error, DataCorruption) or type(error) is ValueError:
        return True
    if not isinstance(error, (GoogleAPICallError, InvalidResponse)):
        return False
    status = _status(error)
    if status == 404:
        return not names_bucket(error)
    if status == 400:
        return "crc32c" in said(getattr(error, "response", None))[1].lower()
    return status == 410


def _status(error: Any) -> int:
    return int(getattr(error, "code", None) or error.response.status_code)


def said(response: Any) -> tuple[str, str]:
    """Reason and message of an answer of the JSON API; never the whole text, it may be a page."""
    try:
        found = response.json()["error"]
        reasons = [str(each.get("reason", "")) for each in found.get("errors", [])]
        return (reasons or [""])[0], str(found["message"])[:_MESSAGE_CHARS]
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", ""


def _cause(error: BaseException) -> str:
    """The innermost cause that the system named; addresses are left out."""
    found = type(error).__name__
    at: BaseException | None = error
    while at is not None:
        if isinstance(at, OSError) and at.strerror:
            found = at.strerror
        inner = [each for each in at.args if isinstance(each, BaseException)]
        at = inner[0] if inner else at.__cause__ or at.__context__
    return found
