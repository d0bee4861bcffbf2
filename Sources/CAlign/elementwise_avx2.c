#if defined(__x86_64__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#define W 8
#define FN(name) align_##name##_avx2
#define SET_NAME "AVX2"
#include "elementwise.inc"
#pragma clang attribute pop
#endif
