"""The laboratory with a store in it: machines that fetch engine and weights from a fake Cloud
Storage, with tokens that the metadata server gives them."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import xllamacpp
from fake_gcs import FakeGcs
from gcs_auth import accepted_by
from lab import CONTROLLER, Lab

from yoyo.drivers.build import archive
from yoyo.model.settings import StoreSettings
from yoyo.model.store import EngineBuild
from yoyo.ports.objects import Objects
from yoyo.wiring_stores import objects_for

BUCKET = "acme-models"
ACCOUNT = "node@lab-project.iam.gserviceaccount.com"
CONFIG = """\
version: 1
operator: tester
store: gs://{bucket}/yoyo
store_endpoint: '{storage}'
store_credentials: '{credentials}'
nodes:
  l4:
    moduleId: acme
    driver: gce
    engine: {{model: 'store:{model}', ctx: 4096, parallel: 2{engine}}}
    guards: {{{guards}}}
    gce:
      project: {project}
      zones: [us-central1-a, us-central1-b, us-east1-b]
      api_endpoint: '{endpoint}'
      controller: {controller}
      service_account: {account}
{gce}
    prices: {{hourly_usd: 0.71, disk_gb_month_usd: 0.10}}
"""
# A bundle's folders are flat; the engine's package lies in lib/ itself.
LOADER = """\
#!/usr/bin/python3
import importlib.util, runpy, sys
from pathlib import Path
lib = Path(__file__).resolve().parent.parent / "lib"
spec = importlib.util.spec_from_file_location(
    "xllamacpp", lib / "__init__.py", submodule_search_locations=[str(lib)]
)
sys.modules["xllamacpp"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
runpy.run_path(str(lib / "lab_llama_server.py"), run_name="__main__")
"""


class StoreLab(Lab):
    """`storage` is the fake; nothing is in it at first. The image's own engine is not used."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.model = "tiny"
        self.storage = FakeGcs(
            directory / "gcs", host=CONTROLLER, accept=accepted_by(self.fake.auth)
        )
        self.storage.add_bucket(BUCKET)
        self.configure()

    def configure(self, *, guards: str = "stop_grace: 5s", engine: str = "", gce: str = "") -> None:
        """Write yoyo.yaml."""
        if not hasattr(self, "storage"):
            return
        text = CONFIG.format(
            bucket=BUCKET,
            storage=self.storage.url,
            credentials=self.credentials,
            model=self.model,
            project=self.fake.settings.project,
            endpoint=self.fake.url,
            controller=CONTROLLER,
            account=ACCOUNT,
            guards=guards,
            engine=engine,
            gce=gce,
        )
        (self.directory / "yoyo.yaml").write_text(text)

    @property
    def objects(self) -> Objects:
        """The store, for whoever tampers with it."""
        return objects_for(StoreSettings(f"gs://{BUCKET}/yoyo", self.storage.url, self.credentials))

    def close(self) -> None:
        """Stop everything and remove the machines."""
        super().close()
        self.storage.close()
        assert not self.storage.violations, self.storage.violations


def lab_bundle(
    directory: Path, *, architectures: tuple[str, ...] = ("llama",), commit: str = "c" * 40
) -> Path:
    """The embedded engine as a bundle for the lab's stub of a GPU."""
    stage = directory / "bundle"
    shutil.rmtree(stage, ignore_errors=True)
    for folder in ("bin", "lib", "licences"):
        (stage / folder).mkdir(parents=True)
    server = stage / "bin" / "llama-server"
    server.write_text(LOADER)
    server.chmod(0o755)
    program = Path(__file__).with_name("lab_llama_server.py")
    for file in (program, *Path(xllamacpp.__file__).parent.glob("*.*")):
        shutil.copy(file, stage / "lib" / file.name)
    (stage / "licences" / "made").write_text(f"{datetime.now(UTC)}: MIT, see llama.cpp\n")
    build = EngineBuild(
        commit=commit,
        source_sha256="0" * 64,
        flags=("-DGGML_CUDA=ON",),
        compiler="none",
        cuda="13.0",
        sm=("89",),
        glibc="2.34",
        machine="x86_64",
        architectures=architectures,
        licences=("MIT",),
    )
    path = directory / f"llama-{commit[:8]}.tar.zst"
    archive.pack(stage, build, path)
    return path
