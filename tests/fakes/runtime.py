"""A throwaway virtual environment in which the fake vLLM is installed as pip would install it."""

import base64
import hashlib
import shutil
import venv
from pathlib import Path

SOURCE = Path(__file__).resolve().parent / "fake_vllm" / "vllm"
VERSION = "9.9.9"
METADATA = f"Metadata-Version: 2.4\nName: vllm\nVersion: {VERSION}\nSummary: A stand-in\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
ENTRY_POINTS = "[console_scripts]\nvllm = vllm.entrypoints.cli.main:main\n"
SCRIPT = """\
#!{python}
import sys
from vllm.entrypoints.cli.main import main
if __name__ == "__main__":
    sys.exit(main())
"""


def make_fake_runtime(folder: Path) -> Path:
    """Creates ``folder`` (about 0.1 s, 0.2 MB) and answers it; ``bin/vllm serve MODEL`` starts the fake."""
    venv.EnvBuilder(with_pip=False, symlinks=True).create(folder)
    packages = next(folder.glob("lib/python3*/site-packages"))
    shutil.copytree(SOURCE, packages / "vllm", ignore=shutil.ignore_patterns("__pycache__"))
    script = folder / "bin" / "vllm"
    script.write_text(SCRIPT.format(python=folder / "bin" / "python"))
    script.chmod(0o755)
    write_dist_info(packages, script)
    return folder


def write_dist_info(packages: Path, script: Path) -> None:
    info = packages / f"vllm-{VERSION}.dist-info"
    info.mkdir()
    for name, text in {"METADATA": METADATA, "WHEEL": WHEEL, "entry_points.txt": ENTRY_POINTS}.items():
        (info / name).write_text(text)
    files = sorted([*packages.glob("vllm/**/*.py"), *info.iterdir()])
    rows = [record_row(file, str(file.relative_to(packages))) for file in files]
    rows += [record_row(script, "../../../bin/vllm"), f"{info.name}/RECORD,,"]
    (info / "RECORD").write_text("\n".join(rows) + "\n")


def record_row(file: Path, name: str) -> str:
    content = file.read_bytes()
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(content)}"
