#if defined(__x86_64__)
#include <immintrin.h>
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma"))), apply_to = function)
#define W 16
#define TILE 12
#define TILE_CASES(x) CASE(1, x) CASE(2, x) CASE(3, x) CASE(4, x) CASE(5, x) CASE(6, x) CASE(7, x) CASE(8, x) CASE(9, x) CASE(10, x) CASE(11, x) CASE(12, x)
#define FN(name) align_##name##_avx512bf16
#define SET_NAME "AVX-512 BF16"
#define BF16_DOT(acc, x, y) (vf)_mm512_dpbf16_ps((__m512)(acc), (__m512bh)(x), (__m512bh)(y))
#include "kernels.inc"
#pragma clang attribute pop
#endif
