"""The documents that the year's rows name, in the forms of docs/formats/proofs.md."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from decimal import Decimal

from year_facts import DISK_GB_MONTH, START, Place, adapter_digest

from yoyo.core.adapters.summary import verification_summary
from yoyo.model.adapter import Signed

_PRICES = "https://cloud.google.com/compute/"
_DEARER_DAY = 181


def _document(fields: dict[str, object]) -> bytes:
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


def machine_price(place: Place, hourly: Decimal, day: int) -> bytes:
    """What a machine's hour cost that day."""
    old = day < _DEARER_DAY
    return _document(
        {
            "_type": "urn:yoyo:price:v1", "currency": "USD", "driver": "gce",
            "hourly_usd": str(hourly), "machine_type": place.machine_type,
            "source": f"{_PRICES}gpus-pricing, read {'2025-11-01' if old else '2026-05-01'}",
            "valid_from": "2025-11-01" if old else "2026-05-01",
            "version": "yoyo-2025-11" if old else "yoyo-2026-05",
        }
    )  # fmt: skip


def disk_price() -> bytes:
    """What a gigabyte of disk costs a month, the whole year."""
    return _document(
        {
            "_type": "urn:yoyo:price:v1", "currency": "USD", "driver": "gce",
            "disk_gb_month_usd": str(DISK_GB_MONTH), "disk_type": "pd-balanced",
            "machine_type": "g2-standard-4",
            "source": f"{_PRICES}disks-image-pricing, read 2025-11-01",
            "valid_from": "2025-11-01", "version": "yoyo-2025-11",
        }
    )  # fmt: skip


def load(node: str, adapter: str) -> bytes:
    """Whose word it was that the adapter may be loaded there."""
    signed = Signed(
        adapter,
        f"sha256:{adapter_digest(adapter)}",
        f"sha256:{adapter_digest(adapter + ' weights')}",
        (("signature", "ml@example.com"), ("sign-off", "carol@example.com")),
        (f"sha256:{adapter_digest(adapter + ' bundle')}",),
    )
    return verification_summary(
        (signed,),
        resource=f"urn:yoyo:node:{node}",
        policy_digest=f"sha256:{adapter_digest('trust')}",
        verifier="https://yoyo.example",
        at=START + (timedelta(0) if adapter.endswith("@1.0.0") else timedelta(days=_DEARER_DAY)),
        passed=True,
    )


def boot(place: Place, module: str) -> bytes:
    """What a node of that module is started with."""
    return _document(
        {
            "_type": "urn:yoyo:boot:v1", "yoyo": "0.6.0", "node": place.name, "moduleId": module,
            "machine": {
                "driver": "gce", "machine_type": place.machine_type, "image": "debian-12",
                "provisioning": "spot" if place.spot else "standard",
            },
            "engine": {
                "from": "store", "name": "b6900", "ctx": 8192, "parallel": 2, "server": None,
                "manifest": f"sha256:{adapter_digest('engine/b6900')}",
            },
            "weights": {
                "from": "store", "name": "qwen-32b", "sha256": f"sha256:{'ab' * 32}",
                "manifest": f"sha256:{adapter_digest('weights/qwen-32b')}",
            },
        }
    )  # fmt: skip


def session(boot_id: str, at: datetime) -> bytes:
    """The controller's boot."""
    return _document(
        {
            "_type": "urn:yoyo:session:v1", "host": "controller-1", "boot_id": boot_id,
            "clock_source": "tsc", "synchronised": "yes", "kernel": "6.8.0", "yoyo": "0.6.0",
            "wall_minus_boottime_s": f"{at.timestamp() - 60:.3f}",
        }
    )  # fmt: skip
