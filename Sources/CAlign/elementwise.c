#include "include/elementwise.h"

extern const align_elementwise align_elementwise_table_portable;
#if defined(__x86_64__)
extern const align_elementwise align_elementwise_table_avx512, align_elementwise_table_avx2;
#endif

const align_elementwise *align_elementwise_for(int set) {
#if defined(__x86_64__)
    if (set == 0) return &align_elementwise_table_avx512;
    if (set == 1) return &align_elementwise_table_avx2;
#endif
    return set == 2 ? &align_elementwise_table_portable : 0;
}

size_t align_attention_scratch(int keys, int head_size, int backward) {
    size_t ld = ((size_t)keys + 31) & ~(size_t)31, d = (size_t)head_size, wide = (d + 31) & ~(size_t)31, block = align_attention_block;
    // Enough for fp32 and for bf16, which has more arrays of half the size.
    size_t margin = 16 * 16;
    if (!backward) return ld * wide * 3 + block * (2 * ld + wide + d) + margin;
    return ld * (d * 5 + wide * 2) + block * (ld * 4 + wide * 3) + 2 * d + margin;
}
