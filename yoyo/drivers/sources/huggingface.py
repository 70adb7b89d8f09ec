"""Models on a Hugging Face hub: what a revision stands for now, and where its files lie.

The token goes to the hub's own host alone, and the mirrors are asked for the commit, never for a
branch: a mirror that lags behind then has the file or has it not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlsplit

from yoyo.drivers.sources import names, web
from yoyo.errors import DriverUnavailable, SourceFailed
from yoyo.model.fetch import Address, RemoteFile, Resolved

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

_T = TypeVar("_T")

DEFAULT_HUB: Final = "https://huggingface.co"
_TIMEOUT_S: Final = 30.0
_COMMIT: Final = re.compile(r"[0-9a-f]{40}\Z")
_SOURCE: Final = re.compile(
    r"(?P<repo>[\w.-]{1,96}/[\w.-]{1,96})(?:/(?P<path>[^@]+?))?/?(?:@(?P<revision>[^@]+))?\Z",
    re.ASCII,
)
_LICENCE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]{0,63}\Z")
_MAX_TOKEN_FILE: Final = 4096
_CREDENTIALS: Final = (
    "Accept the model's terms on its page, then put a token that may read it into HF_TOKEN "
    "(or run `hf auth login`)."
)


def resolve(
    rest: str, *, hub: str | None, mirrors: tuple[str, ...], env: Mapping[str, str]
) -> Resolved:
    """`ORG/REPO[/FILE or FOLDER][@REVISION]`: the commit, and the files with the hub's digests.

    Raises:
        SourceFailed, DriverUnavailable.
    """
    source = f"hf://{names.shown('x://' + rest).removeprefix('x://')}"
    found = _SOURCE.match(rest)
    if not found or any(part in (".", "..") for part in found["repo"].split("/")):
        raise SourceFailed(
            f"The source {source} is not understood.",
            why="It is not hf://ORG/REPO/FILE@REVISION.",
            fix="Give the organisation, the repository and the file as the hub shows them.",
        )
    repo, path = found["repo"], found["path"] or ""
    if path:
        names.checked_path(path, source)
    endpoints = tuple(
        _endpoint(url) for url in (hub or env.get("HF_ENDPOINT") or DEFAULT_HUB, *mirrors)
    )
    token = _token(env)
    info = _ask(source, repo, found["revision"] or "main", endpoints[0], token)
    _same_repo(source, info, repo)
    commit = info.sha or ""
    if not _COMMIT.match(commit):
        raise SourceFailed(
            f"The source {source} has no commit.",
            why="The hub did not say which commit the revision stands for.",
            fix="Check that the hub's address is that of a hub.",
        )
    own = (("Authorization", f"Bearer {token}"),) if token else ()
    files = tuple(
        _file(info, repo, name, path, commit, endpoints, own)
        for name in _chosen(info, path, source)
    )
    return Resolved(source, commit, _licence(info), files)


def _ask(source: str, repo: str, revision: str, hub: str, token: str | None) -> ModelInfo:
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ImportError as error:
        raise DriverUnavailable(
            "Models of a hub need a part of yoyo that is not installed.",
            why=f"The package {error.name} is missing.",
            fix="pip install 'yoyo[weights]'",
        ) from error
    # False, not None: None would look for a token by itself, in this process's environment.
    api = HfApi(endpoint=hub, token=token or False, library_name="yoyo")
    host = urlsplit(hub).netloc

    def once() -> ModelInfo:
        try:
            return api.model_info(repo, revision=revision, files_metadata=True, timeout=_TIMEOUT_S)
        except HfHubHTTPError as error:
            answer = error.response
            raise web.Refused(
                host,
                answer.status_code,
                retry_after=web.seconds_of(answer.headers.get("Retry-After")),
                code=answer.headers.get("X-Error-Code", ""),
            ) from None
        except HFValidationError:
            raise SourceFailed(
                f"The source {source} is not understood.",
                why=f"The hub has no repositories with a name like {repo!a}.",
                fix="Give ORG/REPO as the hub shows it.",
            ) from None
        # What the client raises besides is of its HTTP library, which differs by version.
        except Exception as error:
            raise web.Broken(f"{host}: {type(error).__name__}") from None

    try:
        return _explained(source, revision, once)
    except web.Broken as error:
        raise web.explain(source, error, credentials=_CREDENTIALS) from None


def _explained(source: str, revision: str, once: Callable[[], _T]) -> _T:
    try:
        return web.patiently(once)
    except web.Refused as error:
        if error.code == "RevisionNotFound":
            raise SourceFailed(
                f"The source {source} has no such revision.",
                why=f"The hub knows the repository, but not {revision[:80]!a} in it.",
                fix="Give a branch, a tag or a commit that the hub lists.",
            ) from None
        if error.code == "GatedRepo":
            raise SourceFailed(
                f"The source {source} is gated.",
                why=f"{error.host} answered {error.status}: its terms were not accepted by the "
                "owner of the token, or there is no token.",
                fix=_CREDENTIALS,
            ) from None
        raise web.explain(source, error, credentials=_CREDENTIALS) from None


def _same_repo(source: str, info: ModelInfo, repo: str) -> None:
    if info.id == repo:
        return
    now = ascii(str(info.id)[:200])[1:-1]
    raise SourceFailed(
        f"The source {source} was renamed.",
        why=f"The hub has it as {now} now; whoever takes the old name later could serve "
        "other bytes under it.",
        fix=f"Check that it is the same model, then use hf://{now}/...",
    )


def _chosen(info: ModelInfo, path: str, source: str) -> tuple[str, ...]:
    listed = tuple(
        names.checked_path(str(sibling.rfilename), source) for sibling in info.siblings or ()
    )
    if path in listed:
        wanted = names.shards_of(path, source)
        names.missing(wanted, listed, source)
        return wanted
    folder = f"{path}/" if path else ""
    inside = tuple(
        name.removeprefix(folder)
        for name in listed
        if name.startswith(folder) and "/" not in name.removeprefix(folder)
    )
    if path and not inside:
        names.missing((path,), listed, source)
    return tuple(folder + name for name in names.set_of(inside, source))


def _file(
    info: ModelInfo,
    repo: str,
    name: str,
    path: str,
    commit: str,
    endpoints: tuple[str, ...],
    own: tuple[tuple[str, str], ...],
) -> RemoteFile:
    from huggingface_hub import hf_hub_url

    sibling = next(one for one in info.siblings or () if one.rfilename == name)
    lfs = sibling.lfs
    size = lfs.size if lfs else sibling.size
    sha256 = lfs.sha256 if lfs and names.is_sha256(lfs.sha256) else None
    urls = [hf_hub_url(repo, name, revision=commit, endpoint=endpoint) for endpoint in endpoints]
    # Without the hub's digest nothing would hold a mirror to the truth.
    mirrors = urls[1:] if sha256 is not None else ()
    addresses = (Address(urls[0], own), *(Address(url) for url in mirrors))
    # A named file's own folder is the hub's affair; a named folder's inside belongs to the set.
    inside = (
        name.removeprefix(f"{path}/") if name.startswith(f"{path}/") else name.rpartition("/")[2]
    )
    return RemoteFile(inside, size if _is_size(size) else None, sha256, addresses)


def _is_size(size: object) -> bool:
    return isinstance(size, int) and not isinstance(size, bool) and size >= 0


def _licence(info: ModelInfo) -> str:
    for tag in info.tags or ():
        word, colon, value = str(tag).partition(":")
        if word == "license" and colon and _LICENCE.match(value):
            return value
    return ""


def _endpoint(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise SourceFailed(
            "The address of a hub or of its mirror is not understood.",
            why=f"{names.shown(url)} is not https://HOST.",
            fix="Correct the hub's address in the configuration, or HF_ENDPOINT.",
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")


def _token(env: Mapping[str, str]) -> str | None:
    """From the places where the hub's own client looks, in its order."""
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if token := env.get(variable, "").strip():
            return _clean(token)
    if named := env.get("HF_TOKEN_PATH"):
        place = Path(named)
    elif named := env.get("HF_HOME"):
        place = Path(named) / "token"
    elif named := env.get("XDG_CACHE_HOME"):
        place = Path(named) / "huggingface" / "token"
    elif named := env.get("HOME"):
        place = Path(named) / ".cache" / "huggingface" / "token"
    else:
        return None
    try:
        with place.open("rb") as file:
            return _clean(file.read(_MAX_TOKEN_FILE).decode("ascii").strip()) or None
    except (OSError, ValueError):
        return None


def _clean(token: str) -> str:
    """Refuse a token that would end its header line; say nothing of what it holds."""
    if not re.fullmatch(r"[!-~]*", token):
        raise SourceFailed(
            "The hub's token cannot be sent.",
            why="It holds spaces or characters that no header can carry.",
            fix="Put the token alone into HF_TOKEN, as the hub gave it.",
        )
    return token
