"""Numbers that GGUF files and llama.cpp give to types, and what they are called."""

from __future__ import annotations

from typing import Final

# Tensor type id: elements in a block, bytes of a block. Source: `type_traits` in ggml/src/ggml.c
# with the block structs of ggml-common.h; the same as GGML_QUANT_SIZES of gguf-py 0.19.
TENSOR_TYPES = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    9: (32, 40), 10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210),
    15: (256, 292), 16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18),
    21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8),
    28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
    40: (64, 36), 41: (128, 18),
}  # fmt: skip

# ggml.h, enum ggml_type.
TENSOR_TYPE_NAMES: Final = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 9: "Q8_1",
    10: "Q2_K", 11: "Q3_K", 12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 15: "Q8_K", 16: "IQ2_XXS",
    17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS",
    24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M", 30: "BF16", 34: "TQ1_0",
    35: "TQ2_0", 39: "MXFP4", 40: "NVFP4", 41: "Q1_0",
}  # fmt: skip

# llama.h, enum llama_ftype, without LLAMA_FTYPE_ and MOSTLY_: what llama-quantize calls them.
FILE_TYPE_NAMES: Final = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K",
    11: "Q3_K_S", 12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S",
    17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS",
    23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M",
    30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE", 39: "NVFP4",
    40: "Q1_0",
}  # fmt: skip
FILE_TYPE_GUESSED: Final = 1024  # llama.h, LLAMA_FTYPE_GUESSED: a bit that is set beside it


def quantisation(file_type: int | None, type_bytes: dict[int, int]) -> str:
    """What the weights are quantised to: `general.file_type`, else the type most bytes have.

    `type_bytes` gives the bytes of all tensors of a type. "" where neither says it.
    """
    named = FILE_TYPE_NAMES.get((file_type or 0) & ~FILE_TYPE_GUESSED)
    if file_type is not None and named is not None:
        return named
    if not type_bytes:
        return ""
    return TENSOR_TYPE_NAMES[max(type_bytes, key=lambda kind: (type_bytes[kind], -kind))]
