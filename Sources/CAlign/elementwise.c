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
    if (!backward) return ld * d * 2 + ld * wide + block * ld;
    return ld * d * 5 + ld * wide + block * ld * 3 + block * wide * 2;
}
