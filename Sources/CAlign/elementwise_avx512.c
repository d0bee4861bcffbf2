#if defined(__x86_64__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"))), apply_to = function)
#define W 16
#define FN(name) align_##name##_avx512
#define SET_NAME "AVX-512"
#include "elementwise.inc"
#pragma clang attribute pop
#endif
