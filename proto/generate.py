"""Generates the Python code and type stubs of the contract, or into another folder to compare."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

HERE = Path(__file__).parent
PROTO = "media_proto/media_service.proto"


def generate(folder: Path) -> None:
    """Write the generated modules below `folder`, which stands for `proto/`."""
    # protoc finds its plugins beside the interpreter that runs it.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    kinds = ("python", "grpc_python", "mypy", "mypy_grpc")
    outputs = [f"--{kind}_out={folder}" for kind in kinds]
    arguments = ["protoc", f"-I{HERE}", f"-I{well_known}", *outputs, PROTO]
    if protoc.main(arguments):
        sys.exit("protoc failed; its message is above")


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
