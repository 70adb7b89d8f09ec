"""Everything that can go wrong with a call, as one exception, and what an operator is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from yoyo.core.failover import Refusal, Scope, is_stockout, scope_of
from yoyo.errors import (
    CloudDenied,
    CloudRefused,
    CloudUnavailable,
    DriverUnavailable,
    NoCapacity,
    QuotaExceeded,
    YoyoError,
)

LOGIN = "gcloud auth application-default login"
_QUOTA_PAGE = "https://console.cloud.google.com/iam-admin/quotas"
_MESSAGE_CHARS = 500


class CloudFault(Exception):
    """A call or an operation that failed.

    `status` is the HTTP status: 0 when there was no answer, 200 when the operation failed
    after the call was accepted. `code` is Google's reason.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}"[:_MESSAGE_CHARS])
        self.status = status
        self.code = code
        self.message = message[:_MESSAGE_CHARS]

    @property
    def unknown(self) -> bool:
        """Whether the call may have happened all the same."""
        return scope_of(self.code, self.message, self.status) is Scope.UNKNOWN


@contextmanager
def wrapped() -> Iterator[None]:
    """Turn whatever the libraries raise into a CloudFault or an error for the operator."""
    try:
        yield
    except (CloudFault, YoyoError):
        raise
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("google"):
            raise
        raise DriverUnavailable(
            "The machine driver 'gce' cannot be used.",
            why=f"The module {error.name} is not installed.",
            fix="Run: pip install 'yoyo[gce]'",
        ) from error
    except Exception as error:
        raise _translated(error) from error


def _translated(error: Exception) -> Exception:
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, TransportError
    from requests.exceptions import RequestException

    if isinstance(error, GoogleAPICallError):
        reasons = [str(each.get("reason", "")) for each in error.errors if isinstance(each, dict)]
        return CloudFault(int(error.code or 0), (reasons or [""])[0], str(error.message))
    if isinstance(error, DefaultCredentialsError):
        return CloudDenied(
            "There are no credentials for Google Cloud.",
            why="Application Default Credentials were not found.",
            fix=f"Run `{LOGIN}`, or set GOOGLE_APPLICATION_CREDENTIALS.",
        )
    if isinstance(error, GoogleAuthError) and not isinstance(error, TransportError):
        return CloudDenied(
            "Google refused the credentials.",
            why=str(error)[:_MESSAGE_CHARS],
            fix=f"They expired or were revoked: run `{LOGIN}`.",
        )
    if isinstance(error, TransportError | RequestException | ConnectionError | TimeoutError):
        return CloudFault(0, "", f"no answer ({type(error).__name__})")
    return error


def for_operator(fault: CloudFault, what: str) -> YoyoError:
    """The error that an operator sees; `what` says what was not done, as a sentence."""
    why = f"{fault.code}: {fault.message}".removeprefix(": ")
    scope = scope_of(fault.code, fault.message, fault.status)
    if fault.status == 401:
        return CloudDenied(what, why=why, fix=f"Run `{LOGIN}`.")
    if is_stockout(fault.code):
        return NoCapacity(what, why=why, fix="Add zones, or wait: `yoyo up --max-wait 2h`.")
    if fault.code.upper().startswith("QUOTA"):
        return QuotaExceeded(what, why=why, fix=f"Raise it at {_QUOTA_PAGE}, then `yoyo up`.")
    if fault.status == 403:
        return CloudDenied(
            what, why=why, fix="Grant the roles of docs/guides/gce.md; `yoyo doctor` checks them."
        )
    if scope is Scope.UNKNOWN or fault.status == 429:
        return CloudUnavailable(
            what, why=why, fix="Run `yoyo status`, which looks again, then repeat the command."
        )
    return CloudRefused(what, why=why, fix="Correct what it names in the configuration.")


def no_place(refusals: list[Refusal], waited_s: float) -> YoyoError:
    """The error for a start that no zone took."""
    lines = tuple(f"{each.zone}: {each.code}: {each.message}"[:300] for each in refusals)
    last = refusals[-1]
    if all(each.scope is Scope.REGION and not is_stockout(each.code) for each in refusals):
        return QuotaExceeded(
            "No region of the configuration has quota left for the machine.",
            why=f"{last.code}: {last.message}",
            fix=f"Raise it at {_QUOTA_PAGE}, or add zones of other regions to gce.zones.",
            details=lines,
        )
    return NoCapacity(
        "No zone has the machine to spare.",
        why=f"{len({each.zone for each in refusals})} zone(s) were tried"
        + (f" for {waited_s:.0f} s." if waited_s >= 1 else "."),
        fix="Add zones to gce.zones, ask for spot as well (gce.provisioning), or wait for one: "
        "`yoyo up --max-wait 2h`.",
        details=lines,
    )
