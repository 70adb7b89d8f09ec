"""The startup script of a node: its settings filled into `templates/startup`."""

from __future__ import annotations

from typing import Final

from yoyo.drivers.gce.names import gce_of, port_of
from yoyo.errors import ConfigInvalid
from yoyo.model.settings import FROM_STORE, NodeSettings
from yoyo.model.startup import StartupValues
from yoyo.ports.templates import Templates

TEMPLATE: Final = "startup/startup.sh.j2"
# A metadata value may have 256 KiB (cloud.google.com/compute/docs/metadata/overview).
MAX_BYTES: Final = 262_144
_L4_ARCHITECTURE = "89"  # CUDA compute capability 8.9: the L4 of the G2 machines
_BUILD_JOBS = 2  # four compilers of CUDA at once do not fit into 16 GB
_MIN_DRIVER = "580"
_DPKG_WAIT_S = 300
_PROMPT_CACHE = ("-cram", "--cache-ram")
_STORAGE = "https://storage.googleapis.com"
_IMAGES = (
    "family common-cu129-ubuntu-2404-nvidia-580 of deeplearning-platform-release, or "
    "ubuntu-accelerator-2404-amd64-with-nvidia-580 of ubuntu-os-accelerator-images"
)


def values_of(node: NodeSettings) -> StartupValues:
    """What the templates are filled with."""
    gce, engine = gce_of(node), node.engine
    from_store = engine.model.startswith(FROM_STORE)
    if from_store and node.from_store is None:
        raise ConfigInvalid(
            f"What {engine.model} stands for was not looked up.",
            why="The startup script holds digests, not names.",
            fix="This is a defect of the driver's caller; report it.",
        )
    _check_adapters(node)
    uses_store = any((node.from_store, node.engine_from_store, node.adapters_from_store))
    return StartupValues(
        engine_commit=node.build.commit,
        engine_repo=node.build.repository,
        bundle_url=node.bundle.url or "",
        bundle_sha256=node.bundle.sha256 or "",
        cuda_arch=_L4_ARCHITECTURE,
        build_jobs=_BUILD_JOBS,
        weights_urls=() if from_store else (engine.model, *node.weights.mirrors),
        weights_sha256=node.weights.sha256 or "",
        weights_bytes=0,
        ctx=engine.ctx,
        parallel=engine.parallel,
        cache_type_k=engine.cache_type_k,
        cache_type_v=engine.cache_type_v,
        # Behind a tunnel nothing but loopback has to reach it.
        host="127.0.0.1" if gce.traffic == "tunnel" else "0.0.0.0",  # noqa: S104 - see firewalls
        port=port_of(node),
        tls=gce.traffic == "tls",
        extra_flags=engine.extra_flags,
        gpu=gce.machine_type.startswith(("g2-", "a2-", "a3-", "g4-")),
        min_driver=_MIN_DRIVER,
        image_hint=_IMAGES,
        lease_s=node.guards.lease_s,
        unreachable_after_s=node.guards.unreachable_after_s,
        lifetime_s=node.guards.lifetime_s,
        stop_grace_s=node.guards.stop_grace_s,
        dpkg_wait_s=_DPKG_WAIT_S,
        store_url=node.store.url if node.store is not None and uses_store else "",
        storage=(node.store.endpoint if node.store is not None else None) or _STORAGE,
        weights_set=node.from_store,
        bundle_set=node.engine_from_store,
        adapters=node.adapters_from_store,
    )


def _check_adapters(node: NodeSettings) -> None:
    """Raise ConfigInvalid unless the engine can be given the adapters as they are."""
    for each in node.adapters_from_store:
        # The engine calls an adapter by its file's name; a comma ends a path in its flags.
        if not each.files or each.files[0][0] != f"{each.name}.gguf" or "," in each.name:
            raise ConfigInvalid(
                f"The adapter {each.name} does not lie in the store under its name.",
                why="The engine tells its adapters apart by the names of their files.",
                fix="This is a defect of the driver's caller; report it.",
            )
    names = [word.partition("=")[0].replace("_", "-") for word in node.engine.extra_flags]
    if node.adapters_from_store and any(name in _PROMPT_CACHE for name in names):
        raise ConfigInvalid(
            "A cache of prompts in memory cannot be used with adapters.",
            why="The engine does not keep apart what was read with different adapters.",
            fix="Take --cache-ram out of `engine.extra_flags`, or set the node's `adapters: none`.",
        )


def render(node: NodeSettings, templates: Templates) -> str:
    """The script, the same for every life of the node.

    Raises:
        ConfigInvalid: it is longer than a metadata value may be.
    """
    text = templates.render(TEMPLATE, v=values_of(node))
    if len(text.encode()) > MAX_BYTES:
        raise ConfigInvalid(
            f"The startup script of {node.name} is too long.",
            why=f"It has {len(text.encode())} bytes; Google's metadata holds {MAX_BYTES}.",
            fix="Shorten engine.extra_flags or weights.mirrors.",
        )
    return text
