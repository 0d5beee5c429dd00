"""Whether an IOMMU stands between GPUs, as /sys tells."""

from pathlib import Path

NVIDIA = "0x10de"
DISPLAY = "0x03"  # the first byte of a PCI class: VGA and 3D controllers


def peers_blocked(sys: Path = Path("/sys")) -> str:
    """Why traffic between NVIDIA GPUs over PCIe may hang or be slow; empty when nothing is in the way, or when that
    cannot be told. An IOMMU that translates sends what one card writes to another through the processor, where it is
    lost or slowed down: engines hang at their first start on several cards (vllm 9920, 14449). A domain of type
    ``identity`` passes it through; a machine without groups (most virtual ones) has no IOMMU in use."""
    kinds = sorted({kind for device in cards(sys) if (kind := _text(device / "iommu_group/type")).startswith("DMA")})
    return f"the IOMMU translates for GPUs (group type {', '.join(kinds)})" if kinds else ""


def cards(sys: Path) -> list[Path]:
    """The NVIDIA cards on the PCI bus, with a driver or without."""
    try:
        devices = sorted((sys / "bus/pci/devices").iterdir())
    except OSError:
        return []
    return [one for one in devices if _text(one / "vendor") == NVIDIA and _text(one / "class").startswith(DISPLAY)]


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace").strip()
    except OSError:
        return ""
