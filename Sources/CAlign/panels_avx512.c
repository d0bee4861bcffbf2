#if defined(__x86_64__)
#include <immintrin.h>
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"))), apply_to = function)
#define W 16
#define TILE 12
#define PAIR 2
#define TILE_CASES(x) CASE(1, x) CASE(2, x) CASE(3, x) CASE(4, x) CASE(5, x) CASE(6, x) CASE(7, x) CASE(8, x) CASE(9, x) CASE(10, x) CASE(11, x) CASE(12, x)
#define FN(name) align_##name##_avx512
#define SET_NAME "AVX-512"
#define NIBBLE(v) (vf)_mm512_permutexvar_ps((__m512i)(v), _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))
#define HALVES(p) (vf)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(p)))
#include "panels.inc"
#pragma clang attribute pop
#endif
