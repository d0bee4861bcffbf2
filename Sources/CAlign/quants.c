#include "quants.h"
#include <math.h>
#include <string.h>

// Bodies are inlined twice, for AVX2 and for any x86-64 (or other) CPU. FMA stays off in both: d*q + m must round twice everywhere,
// or two machines would load different weights.
#define BODY static inline __attribute__((always_inline))
#if defined(__x86_64__)
#define WIDE __attribute__((target("avx2")))
#endif

BODY float from_bits(uint32_t bits) { float f; memcpy(&f, &bits, 4); return f; }
BODY uint32_t to_bits(float f) { uint32_t bits; memcpy(&bits, &f, 4); return bits; }
BODY uint16_t load16(const uint8_t *p) { uint16_t v; memcpy(&v, p, 2); return v; }
BODY uint32_t load32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }

// Exponent and mantissa moved into place and scaled by 2^112, which also normalises subnormals exactly.
BODY float half_value(uint16_t h) {
    uint32_t magnitude = h & 0x7FFFu;
    uint32_t finite = to_bits(from_bits(magnitude << 13) * 0x1p112f);
    uint32_t bits = magnitude >= 0x7C00u ? (magnitude << 13) | 0x7F800000u : finite;
    return from_bits(bits | (uint32_t)(h & 0x8000u) << 16);
}

// Round to nearest, ties to even; NaN stays NaN, too large becomes infinite.
BODY uint16_t half_bits(float f) {
    uint32_t bits = to_bits(f), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7FFFFFFFu;
    if (magnitude > 0x7F800000u) return (uint16_t)(sign | 0x7E00u | (magnitude >> 13 & 0x3FFu));
    if (magnitude >= 0x477FF000u) return (uint16_t)(sign | 0x7C00u);  // 65520 and above
    if (magnitude < 0x38800000u)  // below 2^-14: adding 1/2 leaves the subnormal's bits, rounded by the addition itself
        return (uint16_t)(sign | (to_bits(from_bits(magnitude) + 0.5f) - 0x3F000000u));
    return (uint16_t)(sign | ((magnitude - 0x38000000u + 0xFFFu + (magnitude >> 13 & 1)) >> 13));
}

BODY uint16_t bfloat_bits(float f) {
    uint32_t bits = to_bits(f);
    uint32_t nan = bits >> 16 | 0x40u, rounded = (bits + 0x7FFFu + (bits >> 16 & 1)) >> 16;
    return (uint16_t)((bits & 0x7FFFFFFFu) > 0x7F800000u ? nan : rounded);
}

BODY void decode_f16(const uint8_t *s, float *d, size_t n) {
    for (size_t i = 0; i < n; i++) d[i] = half_value(load16(s + 2 * i));
}
BODY void decode_bf16(const uint8_t *s, float *d, size_t n) {
    for (size_t i = 0; i < n; i++) d[i] = from_bits((uint32_t)load16(s + 2 * i) << 16);
}
BODY void decode_q8_0(const uint8_t *s, float *d, size_t n) {
    for (; n; n -= 32, s += 34, d += 32) {
        float scale = half_value(load16(s));
        for (int j = 0; j < 32; j++) d[j] = (float)(int8_t)s[2 + j] * scale;
    }
}
BODY void decode_q4_0(const uint8_t *s, float *d, size_t n) {
    for (; n; n -= 32, s += 18, d += 32) {
        float scale = half_value(load16(s));
        for (int j = 0; j < 16; j++) {
            d[j] = (float)((s[2 + j] & 15) - 8) * scale;
            d[j + 16] = (float)((s[2 + j] >> 4) - 8) * scale;
        }
    }
}
BODY void decode_q4_1(const uint8_t *s, float *d, size_t n) {
    for (; n; n -= 32, s += 20, d += 32) {
        float scale = half_value(load16(s)), least = half_value(load16(s + 2));
        for (int j = 0; j < 16; j++) {
            d[j] = (float)(s[4 + j] & 15) * scale + least;
            d[j + 16] = (float)(s[4 + j] >> 4) * scale + least;
        }
    }
}
BODY void decode_q5_0(const uint8_t *s, float *d, size_t n) {
    for (; n; n -= 32, s += 22, d += 32) {
        float scale = half_value(load16(s));
        uint32_t high = load32(s + 2);
        for (int j = 0; j < 16; j++) {
            d[j] = (float)((int)((s[6 + j] & 15) | (high >> j & 1) << 4) - 16) * scale;
            d[j + 16] = (float)((int)((s[6 + j] >> 4) | (high >> (j + 16) & 1) << 4) - 16) * scale;
        }
    }
}
BODY void decode_q5_1(const uint8_t *s, float *d, size_t n) {
    for (; n; n -= 32, s += 24, d += 32) {
        float scale = half_value(load16(s)), least = half_value(load16(s + 2));
        uint32_t high = load32(s + 4);
        for (int j = 0; j < 16; j++) {
            d[j] = (float)(int)((s[8 + j] & 15) | (high >> j & 1) << 4) * scale + least;
            d[j + 16] = (float)(int)((s[8 + j] >> 4) | (high >> (j + 16) & 1) << 4) * scale + least;
        }
    }
}

// The 6-bit scale and minimum of sub-block b in the 12 packed bytes of Q4_K and Q5_K.
BODY void scale_min(const uint8_t *sc, int b, float *scale, float *least) {
    if (b < 4) {
        *scale = (float)(sc[b] & 63);
        *least = (float)(sc[b + 4] & 63);
    } else {
        *scale = (float)((sc[b + 4] & 15) | (sc[b - 4] >> 6) << 4);
        *least = (float)((sc[b + 4] >> 4) | (sc[b] >> 6) << 4);
    }
}
BODY void decode_q4_k(const uint8_t *s, float *d, size_t n) {
    for (; n; n -= 256, s += 144, d += 256) {
        float all = half_value(load16(s)), all_least = half_value(load16(s + 2));
        for (int b = 0; b < 8; b++) {
            float scale, least;
            scale_min(s + 4, b, &scale, &least);
            scale *= all;
            least *= all_least;
            const uint8_t *q = s + 16 + 32 * (b / 2);
            int shift = b & 1 ? 4 : 0;
            for (int l = 0; l < 32; l++) d[32 * b + l] = scale * (float)(q[l] >> shift & 15) - least;
        }
    }
}
BODY void decode_q5_k(const uint8_t *s, float *d, size_t n) {
    for (; n; n -= 256, s += 176, d += 256) {
        float all = half_value(load16(s)), all_least = half_value(load16(s + 2));
        const uint8_t *high = s + 16;
        for (int b = 0; b < 8; b++) {
            float scale, least;
            scale_min(s + 4, b, &scale, &least);
            scale *= all;
            least *= all_least;
            const uint8_t *q = s + 48 + 32 * (b / 2);
            int shift = b & 1 ? 4 : 0;
            for (int l = 0; l < 32; l++) d[32 * b + l] = scale * (float)((q[l] >> shift & 15) | (high[l] >> b & 1) << 4) - least;
        }
    }
}
BODY void decode_q6_k(const uint8_t *s, float *d, size_t n) {
    for (; n; n -= 256, s += 210, d += 256) {
        float all = half_value(load16(s + 208));
        for (int half = 0; half < 2; half++) {
            const uint8_t *low = s + 64 * half, *high = s + 128 + 32 * half;
            const int8_t *sc = (const int8_t *)s + 192 + 8 * half;
            for (int part = 0; part < 4; part++) {
                float *out = d + 128 * half + 32 * part;
                const uint8_t *q = low + 32 * (part & 1);
                int shift = part < 2 ? 0 : 4;
                for (int l = 0; l < 32; l++) {
                    int value = (q[l] >> shift & 15) | (high[l] >> (2 * part) & 3) << 4;
                    out[l] = all * (float)sc[2 * part + l / 16] * (float)(value - 32);
                }
            }
        }
    }
}

BODY int decode(int type, const uint8_t *s, float *d, size_t n) {
    switch (type) {
    case ALIGN_F32: memcpy(d, s, 4 * n); return 0;
    case ALIGN_F16: decode_f16(s, d, n); return 0;
    case ALIGN_BF16: decode_bf16(s, d, n); return 0;
    case ALIGN_Q8_0: decode_q8_0(s, d, n); return 0;
    case ALIGN_Q4_0: decode_q4_0(s, d, n); return 0;
    case ALIGN_Q4_1: decode_q4_1(s, d, n); return 0;
    case ALIGN_Q5_0: decode_q5_0(s, d, n); return 0;
    case ALIGN_Q5_1: decode_q5_1(s, d, n); return 0;
    case ALIGN_Q4_K: decode_q4_k(s, d, n); return 0;
    case ALIGN_Q5_K: decode_q5_k(s, d, n); return 0;
    case ALIGN_Q6_K: decode_q6_k(s, d, n); return 0;
    default: return -1;
    }
}

#ifdef WIDE
WIDE static int decode_wide(int type, const uint8_t *s, float *d, size_t n) { return decode(type, s, d, n); }
#endif

int align_dequantize(int type, const void *source, float *destination, size_t count) {
#ifdef WIDE
    if (__builtin_cpu_supports("avx2")) return decode_wide(type, source, destination, count);
#endif
    return decode(type, source, destination, count);
}

// ggml's reference adds and multiplies fused here on most machines; a product in double precision gives the same integer.
BODY int truncated(float x, float inverse, double half) { return (int)(float)((double)x * (double)inverse + half); }
BODY int clamped(int value, int most) { return value < 0 ? 0 : value > most ? most : value; }
BODY void store16(uint8_t *p, uint16_t v) { memcpy(p, &v, 2); }

// Blocks with a signed scale: d = (value of largest magnitude) / -zero, q = x/d + zero.
static void encode_symmetric(const float *x, uint8_t *s, size_t n, int bits) {
    int zero = 1 << (bits - 1), most = 2 * zero - 1;
    for (; n; n -= 32, x += 32) {
        float amax = 0, extreme = 0;
        for (int j = 0; j < 32; j++) if (fabsf(x[j]) > amax) { amax = fabsf(x[j]); extreme = x[j]; }
        float d = extreme / (float)-zero, inverse = d != 0 ? 1 / d : 0;
        store16(s, half_bits(d));
        s += 2;
        uint32_t high = 0;
        uint8_t *q = bits == 5 ? s + 4 : s;
        for (int j = 0; j < 16; j++) {
            int a = clamped(truncated(x[j], inverse, zero + 0.5), most), b = clamped(truncated(x[j + 16], inverse, zero + 0.5), most);
            q[j] = (uint8_t)((a & 15) | (b & 15) << 4);
            high |= (uint32_t)(a >> 4) << j | (uint32_t)(b >> 4) << (j + 16);
        }
        if (bits == 5) memcpy(s, &high, 4);
        s = q + 16;
    }
}

// Blocks with a scale and a minimum: d = (max - min) / most, q = (x - min)/d.
static void encode_affine(const float *x, uint8_t *s, size_t n, int bits) {
    int most = (1 << bits) - 1;
    for (; n; n -= 32, x += 32) {
        float least = x[0], greatest = x[0];
        for (int j = 1; j < 32; j++) { if (x[j] < least) least = x[j]; if (x[j] > greatest) greatest = x[j]; }
        float d = (greatest - least) / (float)most, inverse = d != 0 ? 1 / d : 0;
        store16(s, half_bits(d));
        store16(s + 2, half_bits(least));
        s += 4;
        uint32_t high = 0;
        uint8_t *q = bits == 5 ? s + 4 : s;
        for (int j = 0; j < 16; j++) {
            int a = clamped((int)((x[j] - least) * inverse + 0.5f), most), b = clamped((int)((x[j + 16] - least) * inverse + 0.5f), most);
            q[j] = (uint8_t)((a & 15) | (b & 15) << 4);
            high |= (uint32_t)(a >> 4) << j | (uint32_t)(b >> 4) << (j + 16);
        }
        if (bits == 5) memcpy(s, &high, 4);
        s = q + 16;
    }
}

static void encode_q8_0(const float *x, uint8_t *s, size_t n) {
    for (; n; n -= 32, x += 32, s += 34) {
        float amax = 0;
        for (int j = 0; j < 32; j++) if (fabsf(x[j]) > amax) amax = fabsf(x[j]);
        float d = amax / 127, inverse = d != 0 ? 1 / d : 0;
        store16(s, half_bits(d));
        for (int j = 0; j < 32; j++) s[2 + j] = (uint8_t)(int8_t)roundf(x[j] * inverse);
    }
}

int align_quantize(int type, const float *source, void *destination, size_t count) {
    uint8_t *d = destination;
    switch (type) {
    case ALIGN_F32: memcpy(d, source, 4 * count); return 0;
    case ALIGN_F16: for (size_t i = 0; i < count; i++) store16(d + 2 * i, half_bits(source[i])); return 0;
    case ALIGN_BF16: for (size_t i = 0; i < count; i++) store16(d + 2 * i, bfloat_bits(source[i])); return 0;
    case ALIGN_Q8_0: encode_q8_0(source, d, count); return 0;
    case ALIGN_Q4_0: encode_symmetric(source, d, count, 4); return 0;
    case ALIGN_Q4_1: encode_affine(source, d, count, 4); return 0;
    case ALIGN_Q5_0: encode_symmetric(source, d, count, 5); return 0;
    case ALIGN_Q5_1: encode_affine(source, d, count, 5); return 0;
    default: return -1;
    }
}

size_t align_first_beyond_half(const float *source, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint32_t magnitude = to_bits(source[i]) & 0x7FFFFFFFu;
        if (magnitude >= 0x477FF000u && magnitude < 0x7F800000u) return i;
    }
    return count;
}
