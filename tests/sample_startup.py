"""What startup scripts are rendered with in tests: a node with a GPU and one without."""

from __future__ import annotations

from yoyo.config.templates import template_text
from yoyo.drivers.jinja.templates import JinjaTemplates
from yoyo.model.settings import Provided
from yoyo.model.startup import StartupValues

GPU = StartupValues(
    engine_commit="0123456789abcdef0123456789abcdef01234567",
    engine_repo="https://github.com/ggml-org/llama.cpp",
    bundle_url="",
    bundle_sha256="",
    cuda_arch="89",
    build_jobs=2,
    weights_urls=("https://models.example/a model's.gguf", "gs://weights/model.gguf"),
    weights_sha256="ab" * 32,
    weights_bytes=18_500_000_000,
    ctx=16_384,
    parallel=4,
    cache_type_k="q8_0",
    cache_type_v="q8_0",
    host="0.0.0.0",
    port=8443,
    tls=True,
    extra_flags=("--jinja", "--chat-template", "a 'quoted' $HOME"),
    gpu=True,
    min_driver="580",
    image_hint="common-cu129-ubuntu-2404-nvidia-580 of deeplearning-platform-release",
    lease_s=900,
    unreachable_after_s=1200,
    lifetime_s=14_400,
    stop_grace_s=60,
    dpkg_wait_s=300,
)
CPU = GPU._replace(
    gpu=False,
    bundle_url="gs://engines/cpu.tar.gz",
    bundle_sha256="cd" * 32,
    extra_flags=(),
    tls=False,
    host="127.0.0.1",
    port=8080,
)

STORE = GPU._replace(
    weights_urls=(),
    weights_sha256="",
    store_url="gs://artefacts/team",
    weights_set=Provided(
        name="qwen3-32b@2",
        manifest="12" * 32,
        files=(
            ("q4/it's-00001-of-00002.gguf", 10_000_000_000, "ab" * 32),
            ("q4/it's-00002-of-00002.gguf", 8_500_000_000, "cd" * 32),
        ),
    ),
    bundle_set=Provided(
        "llama-b6900-sm89", "34" * 32, (("bundle.tar.zst", 900_000_000, "ef" * 32),)
    ),
)

ADAPTERS = STORE._replace(
    adapters=(
        Provided("dka-style@1.2.0", "56" * 32, (("dka-style@1.2.0.gguf", 50_000_000, "78" * 32),)),
        Provided(
            "acme-legal@0.3.0+b1", "9a" * 32, (("acme-legal@0.3.0+b1.gguf", 60_000_000, "bc" * 32),)
        ),
    ),
)


def render(values: StartupValues) -> str:
    """The startup script."""
    return JinjaTemplates(template_text).render("startup/startup.sh.j2", v=values)
