"""A stand-in for the engine as a distribution of a few files, to be installed by uv (``wheel``) or put in place by hand
(``installed``), so that a test of runtimes needs no network."""

import venv
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from orchestrator.errors import OrchError, RuntimeFailure

PARSER = """
def make_arg_parser(parser):
    parser.add_argument("model_tag", nargs="?")
    parser.add_argument("--model")
    parser.add_argument("--max-model-len", type=int)
    parser.add_argument("--strict", action="store_true")
    return parser

def validate_parsed_serve_args(args):
    if args.strict and not args.max_model_len:
        raise TypeError("--strict requires --max-model-len")
"""
ENGINE = {
    "vllm/__init__.py": "raise SystemExit('nobody may import this')\n",
    "vllm/entrypoints/openai/api_server.py": "",
}
WITH_PARSER = {
    "vllm/__init__.py": "",
    "vllm/entrypoints/openai/api_server.py": "",
    "vllm/entrypoints/openai/cli_args.py": PARSER,
    "vllm/utils.py": "from argparse import ArgumentParser as FlexibleArgumentParser\n",
}


def contents(name: str, version: str, files: Mapping[str, str], needs: tuple[str, ...] = ()) -> dict[str, str]:
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    all_files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        + "".join(f"Requires-Dist: {need}\n" for need in needs),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\nvllm = vllm.cli:main\n" if "vllm/__init__.py" in files else "",
    }
    return {**all_files, f"{info}/RECORD": "".join(f"{file},,\n" for file in [*all_files, f"{info}/RECORD"])}


def wheel(
    folder: Path, name: str, version: str, files: Mapping[str, str] | None = None, needs: tuple[str, ...] = ()
) -> None:
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in contents(name, version, files or {}, needs).items():
            archive.writestr(path, text)


def installed(prefix: Path, name: str = "vllm", files: Mapping[str, str] = ENGINE) -> Path:
    """A virtual environment that somebody else made, with an engine in it."""
    venv.create(prefix, symlinks=True)
    site = next(prefix.glob("lib/python3*/site-packages"))
    for path, text in contents(name, "0.32.0", files).items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text)
    script = prefix / "bin/vllm"
    script.write_text(f"#!{prefix}/bin/python\n")
    script.chmod(0o755)
    return prefix


def silent(_: str) -> None:
    pass


def failure(call: Callable[[], object]) -> OrchError:
    with pytest.raises(RuntimeFailure) as caught:
        call()
    return caught.value
