"""The whole laboratory: Google's API played by a fake, and real machines behind it. Needs root.

`with Lab(directory) as lab:` in a test; `scripts/lab up` for a person, who then runs `yoyo` in
the laboratory's directory as if it were the cloud.
"""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Self

from fake_gce import FakeGce
from gce_state import ZONES, Settings
from nspawn_host import NspawnHost

from yoyo.config.schema import NODE_KEYS
from yoyo.drivers.local.smoke_model import ensure

ENGINE = "/opt/yoyo/engine"
NETWORK = "10.127.0.0/24"
CONTROLLER = "10.127.0.1"  # this host, as the machines see it

CONFIG = """\
version: 1
operator: tester
nodes:
  l4:
    moduleId: acme
    driver: gce
    engine: {{model: 'http://{controller}:{port}/{model}', ctx: 4096, parallel: 2{engine}}}
    build: {{on_node: yes}}
    weights: {{sha256: {digest}}}
    guards: {{{guards}}}
    gce:
      project: {project}
      zones: [us-central1-a, us-central1-b, us-east1-b]
      api_endpoint: '{endpoint}'
      controller: {controller}
{gce}
    prices: {{hourly_usd: 0.71, disk_gb_month_usd: 0.10}}
"""


class Lab:
    """A fake cloud with machines that boot, a server of weights, and a directory to work in."""

    def __init__(self, directory: Path, zones: tuple[str, ...] = ZONES) -> None:
        self.directory = directory
        directory.mkdir(exist_ok=True)
        models = directory / "models"
        self._model = ensure(models)
        self._digest = hashlib.sha256(self._model.read_bytes()).hexdigest()
        self.host = NspawnHost(directory / "machines", network=NETWORK, prepare=with_engine)
        handler = functools.partial(_Quiet, directory=str(models))
        self._weights = _Weights((CONTROLLER, 0), handler)
        threading.Thread(target=self._weights.serve_forever, daemon=True).start()
        self.fake = FakeGce(Settings(zones=zones), host=self.host)
        self.credentials = self.fake.credentials(directory / "service-account.json")
        self.configure()

    def configure(self, *, guards: str = "stop_grace: 5s", engine: str = "", gce: str = "") -> None:
        """Write yoyo.yaml."""
        text = CONFIG.format(
            controller=CONTROLLER,
            port=self._weights.server_address[1],
            model=self._model.name,
            digest=self._digest,
            project=self.fake.settings.project,
            endpoint=self.fake.url,
            guards=guards,
            engine=engine,
            gce=gce,
        )
        (self.directory / "yoyo.yaml").write_text(text)

    @property
    def environment(self) -> dict[str, str]:
        """What a command needs to find its credentials."""
        return {"GOOGLE_APPLICATION_CREDENTIALS": str(self.credentials)}

    def close(self) -> None:
        """Stop everything and remove the machines."""
        self.fake.close()
        self._weights.shutdown()
        self._weights.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.close()
        assert kind or not self.fake.violations, self.fake.violations


class _Weights(http.server.ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Say nothing: a machine that has read the header hangs up."""


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *_: object) -> None:
        """Say nothing."""


def with_engine(disk: Path) -> None:
    """Put the image's engine where the startup script looks for the one it would build."""
    commit = next(key.default for key in NODE_KEYS if key.path == "build.commit")
    engines = disk / ENGINE.lstrip("/")
    engines.mkdir(parents=True)
    (engines / f"{commit}-sm89").symlink_to("lab")


def main() -> None:
    """Run a laboratory in the directory named in argv until SIGTERM or SIGINT."""
    directory = Path(sys.argv[1]).resolve()
    directory.mkdir(parents=True, exist_ok=True)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    lab = Lab(directory)
    print(json.dumps({"pid": os.getpid(), **lab.environment}), flush=True)
    ended.wait()
    lab.close()


if __name__ == "__main__":
    main()
