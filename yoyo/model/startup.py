"""What the startup script of a node is rendered with."""

from __future__ import annotations

from typing import NamedTuple

from yoyo.model.settings import Provided


class StartupValues(NamedTuple):
    """Everything that `templates/startup` needs; validated before it comes here.

    Nothing of one life is in it (request id, lease and key come by the machine's metadata), so
    that the script is the same at every boot, and nothing secret. Times are seconds.
    """

    engine_commit: str
    engine_repo: str  # a git URL
    bundle_url: str  # "" where the engine is built on the node
    bundle_sha256: str  # "" with it
    cuda_arch: str  # such as "89"
    build_jobs: int
    weights_urls: tuple[str, ...]  # http, https or gs; mirrors, in the order they are tried
    weights_sha256: str
    weights_bytes: int  # 0: unknown
    ctx: int
    parallel: int
    cache_type_k: str
    cache_type_v: str
    host: str  # the address that the engine binds
    port: int
    tls: bool
    extra_flags: tuple[str, ...]
    gpu: bool  # False: no GPU check, no layers on a GPU
    min_driver: str  # major version or more of it, such as "580"
    image_hint: str  # names the right image families
    lease_s: int
    unreachable_after_s: int
    lifetime_s: int
    stop_grace_s: int
    dpkg_wait_s: int
    store_url: str = ""  # gs://BUCKET[/PREFIX]; "" where nothing comes from the store
    storage: str = "https://storage.googleapis.com"  # where gs:// is fetched from
    weights_set: Provided | None = None  # instead of weights_urls
    bundle_set: Provided | None = None  # instead of bundle_url
    adapters: tuple[Provided, ...] = ()  # in the engine's order; the first file is id@version.gguf
