"""The types of GGML's tensors: how many weights a block has, and how many bytes.

A block of most types is a scale (two bytes), maybe a minimum, and the weights' bits (ggml/src/ggml-common.h). Numbers
that are missing here are of types that were taken out again, or of a fork's own.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BlockType:
    name: str
    weights: int
    bytes: int

    def size(self, row: int, rows: int) -> int:
        """Bytes of ``rows`` rows of ``row`` weights each; a row begins a block of its own."""
        return -(-row // self.weights) * self.bytes * rows


TYPES: Mapping[int, BlockType] = {
    0: BlockType("F32", 1, 4),
    1: BlockType("F16", 1, 2),
    2: BlockType("Q4_0", 32, 2 + 16),
    3: BlockType("Q4_1", 32, 2 + 2 + 16),
    6: BlockType("Q5_0", 32, 2 + 4 + 16),
    7: BlockType("Q5_1", 32, 2 + 2 + 4 + 16),
    8: BlockType("Q8_0", 32, 2 + 32),
    9: BlockType("Q8_1", 32, 2 + 2 + 32),
    10: BlockType("Q2_K", 256, 2 + 2 + 16 + 64),
    11: BlockType("Q3_K", 256, 2 + 12 + 32 + 64),
    12: BlockType("Q4_K", 256, 2 + 2 + 12 + 128),
    13: BlockType("Q5_K", 256, 2 + 2 + 12 + 32 + 128),
    14: BlockType("Q6_K", 256, 2 + 16 + 64 + 128),
    15: BlockType("Q8_K", 256, 4 + 32 + 256),
    16: BlockType("IQ2_XXS", 256, 2 + 64),
    17: BlockType("IQ2_XS", 256, 2 + 64 + 8),
    18: BlockType("IQ3_XXS", 256, 2 + 96),
    19: BlockType("IQ1_S", 256, 2 + 32 + 16),
    20: BlockType("IQ4_NL", 32, 2 + 16),
    21: BlockType("IQ3_S", 256, 2 + 64 + 8 + 32 + 4),
    22: BlockType("IQ2_S", 256, 2 + 64 + 8 + 8),
    23: BlockType("IQ4_XS", 256, 2 + 2 + 4 + 128),
    24: BlockType("I8", 1, 1),
    25: BlockType("I16", 1, 2),
    26: BlockType("I32", 1, 4),
    27: BlockType("I64", 1, 8),
    28: BlockType("F64", 1, 8),
    29: BlockType("IQ1_M", 256, 32 + 16 + 8),
    30: BlockType("BF16", 1, 2),
    34: BlockType("TQ1_0", 256, 2 + 48 + 4),
    35: BlockType("TQ2_0", 256, 2 + 64),
    39: BlockType("MXFP4", 32, 1 + 16),
    40: BlockType("NVFP4", 64, 4 + 32),
    41: BlockType("Q1_0", 128, 2 + 16),
    42: BlockType("Q2_0", 64, 2 + 16),
}
