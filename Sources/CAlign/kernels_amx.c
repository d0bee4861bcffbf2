#if defined(__x86_64__)
#include <immintrin.h>
#include "include/kernels.h"

#pragma clang attribute push(__attribute__((target("amx-tile,amx-bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"))), apply_to = function)

// Palette 1 of the architecture: tiles of up to 16 rows of 64 bytes. Tiles 0..3 are sums, 4 and 5 rows of A, 6 and 7 of B.
static void configure(int upper, int lower) {
    struct { uint8_t palette, start, reserved[14]; uint16_t bytes[16]; uint8_t rows[16]; } __attribute__((packed, aligned(64))) c = {.palette = 1};
    for (int t = 0; t < 8; t++) c.bytes[t] = 64;
    c.rows[0] = c.rows[1] = c.rows[4] = (uint8_t)upper;
    c.rows[2] = c.rows[3] = c.rows[5] = (uint8_t)(lower > 0 ? lower : 1);
    c.rows[6] = c.rows[7] = 16;
    _tile_loadconfig(&c);
}

static void finish(const float *sums, float *c, ptrdiff_t ldc, int m, int n, int accumulate) {
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) c[i * ldc + j] = accumulate ? c[i * ldc + j] + sums[i * 32 + j] : sums[i * 32 + j];
}

// Up to 32 rows by every panel; tiles are configured for `rows` already.
static void block(const uint16_t *a, ptrdiff_t lda, const uint16_t *packed, float *c, ptrdiff_t ldc, int rows, int n, int k, int accumulate) {
    float sums[32 * 32] __attribute__((aligned(64)));
    int lower = rows - 16;
    for (int j = 0; j < n; j += 32, packed += (ptrdiff_t)k * 32) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        for (int p = 0; p < k; p += 32) {
            const uint16_t *b = packed + (ptrdiff_t)p * 32;
            _tile_loadd(6, b, 128);
            _tile_loadd(7, b + 32, 128);
            _tile_loadd(4, a + p, lda * 2);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            if (lower > 0) {
                _tile_loadd(5, a + 16 * lda + p, lda * 2);
                _tile_dpbf16ps(2, 5, 6);
                _tile_dpbf16ps(3, 5, 7);
            }
        }
        int columns = n - j < 32 ? n - j : 32;
        if (columns == 32 && !accumulate) {
            _tile_stored(0, c + j, ldc * 4);
            _tile_stored(1, c + j + 16, ldc * 4);
            if (lower > 0) {
                _tile_stored(2, c + 16 * ldc + j, ldc * 4);
                _tile_stored(3, c + 16 * ldc + j + 16, ldc * 4);
            }
        } else {
            _tile_stored(0, sums, 128);
            _tile_stored(1, sums + 16, 128);
            if (lower > 0) {
                _tile_stored(2, sums + 16 * 32, 128);
                _tile_stored(3, sums + 16 * 32 + 16, 128);
            }
            finish(sums, c + j, ldc, rows, columns, accumulate);
        }
    }
}

static void align_gemm_bf16_amx(const uint16_t *a, ptrdiff_t lda, const uint16_t *packed, float *c, ptrdiff_t ldc, int m, int n, int k, int accumulate) {
    k = (k + 31) / 32 * 32;
    int whole = m / 32 * 32, left = m - whole;
    if (whole > 0) {
        configure(16, 16);
        for (int i = 0; i < whole; i += 32) block(a + i * lda, lda, packed, c + i * ldc, ldc, 32, n, k, accumulate);
    }
    if (left > 0) {
        configure(left < 16 ? left : 16, left - 16);
        block(a + whole * lda, lda, packed, c + whole * ldc, ldc, left, n, k, accumulate);
    }
    _tile_release();
}

// The tile unit takes whole rows of A: they are turned.
static uint16_t rounded_scalar(float x) {
    uint32_t u;
    __builtin_memcpy(&u, &x, 4);
    if ((u & 0x7FFFFFFF) > 0x7F800000) return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7FFF + (u >> 16 & 1)) >> 16);
}

static void align_pack_bf16_ta_amx(const float *src, ptrdiff_t ld, int m, int k, uint16_t *dst) {
    int padded = (k + 31) / 32 * 32;
    for (int i0 = 0; i0 < m; i0 += 16)
        for (int p0 = 0; p0 < padded; p0 += 32) {
            int i1 = i0 + 16 < m ? i0 + 16 : m;
            for (int i = i0; i < i1; i++)
                for (int p = p0; p < p0 + 32; p++) dst[(ptrdiff_t)i * padded + p] = p < k ? rounded_scalar(src[p * ld + i]) : 0;
        }
}

static void align_pack_half_ta_amx(const uint16_t *src, ptrdiff_t ld, int m, int k, uint16_t *dst) {
    int padded = (k + 31) / 32 * 32;
    for (int i0 = 0; i0 < m; i0 += 16)
        for (int p0 = 0; p0 < padded; p0 += 32) {
            int i1 = i0 + 16 < m ? i0 + 16 : m;
            for (int i = i0; i < i1; i++)
                for (int p = p0; p < p0 + 32; p++) dst[(ptrdiff_t)i * padded + p] = p < k ? src[p * ld + i] : 0;
        }
}

static void align_gemm_bf16_ta_amx(const uint16_t *a, const uint16_t *packed, float *c, ptrdiff_t ldc, int m, int n, int k, int accumulate) {
    align_gemm_bf16_amx(a, (k + 31) / 32 * 32, packed, c, ldc, m, n, k, accumulate);
}
#pragma clang attribute pop

#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"))), apply_to = function)
#define W 16
#define TILE 12
#define ROW_TILE 32
#define TILE_CASES(x) CASE(1, x) CASE(2, x) CASE(3, x) CASE(4, x) CASE(5, x) CASE(6, x) CASE(7, x) CASE(8, x) CASE(9, x) CASE(10, x) CASE(11, x) CASE(12, x)
#define FN(name) align_##name##_amx_base
#define SET_NAME "AMX BF16"
#define GEMM_BF16 align_gemm_bf16_amx
#define OWN_BF16_TA
#define PACK_BF16_TA align_pack_bf16_ta_amx
#define PACK_HALF_TA align_pack_half_ta_amx
#define GEMM_BF16_TA align_gemm_bf16_ta_amx
#define finish finish_vectors
#include "kernels.inc"
#pragma clang attribute pop
#endif
