"""What a GPU machine type of Compute Engine has, so that a plan can be made before it exists.

Sources, 2026-11. Which GPU and how many: Google's pages "GPU machine types" and
"Accelerator-optimized machine family". Bandwidth: the first of these, and NVIDIA's data sheet for
the RTX PRO 6000 Blackwell Server Edition. CUDA architecture: NVIDIA's "CUDA GPU compute
capability". Memory: what `cudaMemGetInfo` gives as the total, by the lowest figure that public logs
of PyTorch and llama.cpp hold (an L4 has 24 GB on its data sheet, 23,034 MiB in nvidia-smi with its
error correction on, and 21.95 GiB here: the driver keeps the rest).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final, NamedTuple

_MIB: Final = 2**20


class Accelerator(NamedTuple):
    """One GPU. Layers are split over several, one after the other: their bandwidth is no sum."""

    gpu: str
    memory_bytes: int  # that a process can take
    bandwidth_gb_s: Decimal  # 1 GB = 1e9 bytes
    sm: str  # CUDA architecture, as cmake names it


class Accelerators(NamedTuple):
    """The GPUs of a machine type, all alike."""

    each: Accelerator
    gpus: int

    @property
    def memory_bytes(self) -> int:
        """Of all of them."""
        return self.gpus * self.each.memory_bytes


L4: Final = Accelerator("NVIDIA L4", 22_477 * _MIB, Decimal(300), "89")
A100_40: Final = Accelerator("NVIDIA A100 40GB", 40_325 * _MIB, Decimal(1600), "80")
A100_80: Final = Accelerator("NVIDIA A100 80GB", 81_039 * _MIB, Decimal(1900), "80")
H100_80: Final = Accelerator("NVIDIA H100 80GB", 80_998 * _MIB, Decimal(3350), "90")
# 256 MiB less than the total: its CUDA context is that much larger than the others' (core.fit).
RTX_PRO_6000: Final = Accelerator(
    "NVIDIA RTX PRO 6000 Blackwell", (97_247 - 256) * _MIB, Decimal(1597), "120"
)

MACHINE_TYPES: Final = {
    "g2-standard-4": Accelerators(L4, 1),
    "g2-standard-8": Accelerators(L4, 1),
    "g2-standard-12": Accelerators(L4, 1),
    "g2-standard-16": Accelerators(L4, 1),
    "g2-standard-24": Accelerators(L4, 2),
    "g2-standard-32": Accelerators(L4, 1),
    "g2-standard-48": Accelerators(L4, 4),
    "g2-standard-96": Accelerators(L4, 8),
    "a2-highgpu-1g": Accelerators(A100_40, 1),
    "a2-highgpu-2g": Accelerators(A100_40, 2),
    "a2-highgpu-4g": Accelerators(A100_40, 4),
    "a2-highgpu-8g": Accelerators(A100_40, 8),
    "a2-megagpu-16g": Accelerators(A100_40, 16),
    "a2-ultragpu-1g": Accelerators(A100_80, 1),
    "a2-ultragpu-2g": Accelerators(A100_80, 2),
    "a2-ultragpu-4g": Accelerators(A100_80, 4),
    "a2-ultragpu-8g": Accelerators(A100_80, 8),
    "a3-highgpu-1g": Accelerators(H100_80, 1),
    "a3-highgpu-2g": Accelerators(H100_80, 2),
    "a3-highgpu-4g": Accelerators(H100_80, 4),
    "a3-highgpu-8g": Accelerators(H100_80, 8),
    "g4-standard-48": Accelerators(RTX_PRO_6000, 1),
    "g4-standard-96": Accelerators(RTX_PRO_6000, 2),
    "g4-standard-192": Accelerators(RTX_PRO_6000, 4),
    "g4-standard-384": Accelerators(RTX_PRO_6000, 8),
}


def of_machine_type(machine_type: str) -> Accelerators | None:
    """The GPUs of that machine type; None: it has none, or they are not known here."""
    return MACHINE_TYPES.get(machine_type)
