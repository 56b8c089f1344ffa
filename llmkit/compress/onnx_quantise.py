"""An ONNX graph with its linear layers' weights as 8 or 4 bits: blocks of 32 weights share a scale and a zero point.

Source: ONNX Runtime's ``MatMulNBitsQuantizer``, round to nearest, accuracy level 4 (a product's activations as int8).
The unembedding stays float32: a tied one is the embedding's own matrix, which the embedding needs as it is.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from llmkit.compress.onnx_export import DATA, FACTS, MODEL

BLOCK, ACCURACY_LEVEL = 32, 4


def quantise(plain: Path, out: Path, *, bits: int) -> None:
    """Write the graph in ``plain`` with quantised weights into ``out``.

    Args:
        bits: 8 or 4.
    """
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    logging.getLogger("onnxruntime.quantization.matmul_nbits_quantizer").setLevel(logging.WARNING)
    model = onnx.load(str(plain / MODEL))
    answer = model.graph.output[0].name
    for at, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{at}"
    last = [node.name for node in model.graph.node if answer in node.output and node.op_type == "MatMul"]
    quantiser = MatMulNBitsQuantizer(
        model, bits=bits, block_size=BLOCK, accuracy_level=ACCURACY_LEVEL, nodes_to_exclude=last
    )
    quantiser.process()
    onnx.save(
        quantiser.model.model, str(out / MODEL), save_as_external_data=True, all_tensors_to_one_file=True, location=DATA
    )
    shutil.copyfile(plain / FACTS, out / FACTS)
