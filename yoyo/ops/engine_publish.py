"""`yoyo engine publish`: a bundle into the store, under a name that nodes find it by."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from yoyo.core.bundle import SUFFIX, file_name
from yoyo.model.store import ENGINE, EngineBuild
from yoyo.ops.store_context import StoreContext
from yoyo.ops.weights_stage import Staged, StageRequest, stage


def publish(
    ctx: StoreContext,
    path: Path,
    inspect: Callable[[Path], EngineBuild],
    *,
    name: str = "",
    replace: bool = False,
) -> Staged:
    """Read the bundle whole (`inspect` does), then stage it; the name comes from what it is.

    Raises:
        ArtefactMissing, ArtefactCorrupt: no bundle, or a damaged one; and what `stage` raises.
    """
    build = inspect(path)
    request = StageRequest(
        ENGINE,
        name or name_of(build),
        path.absolute().as_uri(),
        replace=replace,
        licence=" AND ".join(build.licences),
        engine=build,
    )
    return stage(ctx, request)


def name_of(build: EngineBuild) -> str:
    """The bundle's name where the operator gives none: its file's, without the ending."""
    return file_name(build).removesuffix(SUFFIX).lower().replace("_", "-")[:63]
