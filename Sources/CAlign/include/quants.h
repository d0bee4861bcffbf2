// Number formats of checkpoints: halves, bfloat16 and ggml's quantised blocks, to and from float.
// Every function handles `count` elements; for block types `count` is a multiple of the block.
// Layouts and rounding follow ggml (ggml-common.h, ggml-quants.c). Buffers need no alignment. Results do not depend on the CPU.
#pragma once
#include <stddef.h>
#include <stdint.h>

// ggml's type numbers.
enum {
    ALIGN_F32 = 0, ALIGN_F16 = 1, ALIGN_Q4_0 = 2, ALIGN_Q4_1 = 3, ALIGN_Q5_0 = 6, ALIGN_Q5_1 = 7, ALIGN_Q8_0 = 8,
    ALIGN_Q4_K = 12, ALIGN_Q5_K = 13, ALIGN_Q6_K = 14, ALIGN_BF16 = 30,
};

// Decodes `count` elements of a ggml type. Returns 0, or -1 for a type not listed above.
int align_dequantize(int type, const void *source, float *destination, size_t count);

// Encodes to F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0 or Q5_1 as ggml's reference does. Returns 0, or -1 for another type.
int align_quantize(int type, const float *source, void *destination, size_t count);

// The index of the first finite element that rounds to an infinite half; `count` if there is none.
size_t align_first_beyond_half(const float *source, size_t count);
