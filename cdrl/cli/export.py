"""The command `cdrl export`: networks as ONNX files."""

import argparse
from pathlib import Path

from tqdm.auto import tqdm

from cdrl.editing.onnx_export import check_names, export_network


def export(arguments: argparse.Namespace) -> None:
    """Export networks, and print how far onnxruntime is from torch.

    Args:
        arguments: of the command.

    Raises:
        InputError: an unknown name, a missing package, or a difference above 1e-4.
    """
    names = check_names(arguments.names)
    folder = Path(arguments.out)
    folder.mkdir(parents=True, exist_ok=True)
    for name in tqdm(names, desc="export", unit=" networks"):
        difference = export_network(name, folder, arguments.guidance)
        size = (folder / f"{name}.onnx").stat().st_size
        tqdm.write(
            f"{folder / name}.onnx: {size / 1e6:.1f} MB, differs from torch by {difference:.0e}"
        )
