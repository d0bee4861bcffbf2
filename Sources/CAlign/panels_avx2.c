#if defined(__x86_64__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#define W 8
#define TILE 3
#define PAIR 1
#define TILE_CASES(x) CASE(1, x) CASE(2, x) CASE(3, x)
#define FN(name) align_##name##_avx2
#define SET_NAME "AVX2"
#include "panels.inc"
#pragma clang attribute pop
#endif
