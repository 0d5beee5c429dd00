"""Whether an IOMMU stands between GPUs. ``sys`` is laid out as the kernel does."""

from pathlib import Path

import pytest

from orchestrator.iommu import peers_blocked

GPU, AUDIO, BRIDGE = ("0x10de", "0x030200"), ("0x10de", "0x040300"), ("0x8086", "0x030000")


def device(sys: Path, address: str, ids: tuple[str, str], group: str | None = None) -> None:
    folder = sys / "bus/pci/devices" / address
    folder.mkdir(parents=True)
    (folder / "vendor").write_text(ids[0] + "\n")
    (folder / "class").write_text(ids[1] + "\n")
    if group is not None:
        real = sys / "kernel/iommu_groups" / address
        real.mkdir(parents=True)
        (real / "type").write_text(group + "\n")
        (folder / "iommu_group").symlink_to(real)


@pytest.mark.parametrize("kind", ["DMA", "DMA-FQ"])
def test_a_translating_group_of_a_gpu_must_be_told(tmp_path: Path, kind: str) -> None:
    device(tmp_path, "0000:01:00.0", GPU, kind)
    device(tmp_path, "0000:41:00.0", GPU, "identity")
    assert peers_blocked(tmp_path) == f"the IOMMU translates for GPUs (group type {kind})"


def test_each_kind_is_told_once(tmp_path: Path) -> None:
    for number, kind in enumerate(("DMA", "DMA-FQ", "DMA")):
        device(tmp_path, f"0000:0{number}:00.0", GPU, kind)
    assert peers_blocked(tmp_path) == "the IOMMU translates for GPUs (group type DMA, DMA-FQ)"


@pytest.mark.parametrize("group", ["identity", None], ids=["passthrough", "no groups"])
def test_what_does_not_translate_is_fine(tmp_path: Path, group: str | None) -> None:
    device(tmp_path, "0000:01:00.0", GPU, group)
    assert peers_blocked(tmp_path) == ""


def test_other_devices_do_not_matter(tmp_path: Path) -> None:
    device(tmp_path, "0000:01:00.0", GPU, "identity")
    device(tmp_path, "0000:01:00.1", AUDIO, "DMA-FQ")
    device(tmp_path, "0000:00:02.0", BRIDGE, "DMA-FQ")
    assert peers_blocked(tmp_path) == ""


def test_a_host_without_pci_is_fine(tmp_path: Path) -> None:
    assert peers_blocked(tmp_path) == ""
