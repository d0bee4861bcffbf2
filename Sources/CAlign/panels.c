#include "panels.h"
#include <string.h>

size_t align_panel_bytes(int type, int inputs) {
    int unit = panel_unit(type), block = panel_block(type);
    if (unit == 0 || inputs < 0 || inputs % block != 0) return 0;
    return (size_t)(inputs / block) * (size_t)unit;
}

// Word `i` of a field of every lane.
static void turn_words(const uint8_t *const *rows, int count, ptrdiff_t offset, int words, uint8_t *out) {
    for (int r = 0; r < count; r++)
        for (int i = 0; i < words; i++) memcpy(out + ((size_t)i * L + (size_t)r) * 4, rows[r] + offset + 4 * i, 4);
}
static void turn_halves(const uint8_t *const *rows, int count, ptrdiff_t offset, uint8_t *out) {
    for (int r = 0; r < count; r++) memcpy(out + 2 * r, rows[r] + offset, 2);
}
// The six-bit scales and minima of Q4_K and Q5_K, a byte each.
static void turn_scales(const uint8_t *const *rows, int count, ptrdiff_t offset, uint8_t *scales, uint8_t *leasts) {
    for (int r = 0; r < count; r++) {
        const uint8_t *s = rows[r] + offset;
        for (int b = 0; b < 8; b++) {
            scales[b * L + r] = b < 4 ? s[b] & 63 : (uint8_t)((s[b + 4] & 15) | s[b - 4] >> 6 << 4);
            leasts[b * L + r] = b < 4 ? s[b + 4] & 63 : (uint8_t)(s[b + 4] >> 4 | s[b] >> 6 << 4);
        }
    }
}

static void pack_unit(int type, const uint8_t *const *r, int n, ptrdiff_t at, uint8_t *u) {
    switch (type) {
    case ALIGN_F32: turn_words(r, n, at, 1, u); break;
    case ALIGN_F16: case ALIGN_BF16: turn_halves(r, n, at, u); break;
    case ALIGN_Q4_0:
        turn_halves(r, n, at, u);
        turn_words(r, n, at + 2, 4, u + q4_0_words);
        break;
    case ALIGN_Q4_1:
        turn_halves(r, n, at, u);
        turn_halves(r, n, at + 2, u + q4_1_least);
        turn_words(r, n, at + 4, 4, u + q4_1_words);
        break;
    case ALIGN_Q5_0:
        turn_halves(r, n, at, u);
        turn_words(r, n, at + 2, 1, u + q5_0_high);
        turn_words(r, n, at + 6, 4, u + q5_0_words);
        break;
    case ALIGN_Q5_1:
        turn_halves(r, n, at, u);
        turn_halves(r, n, at + 2, u + q5_1_least);
        turn_words(r, n, at + 4, 1, u + q5_1_high);
        turn_words(r, n, at + 8, 4, u + q5_1_words);
        break;
    case ALIGN_Q8_0:
        turn_halves(r, n, at, u);
        turn_words(r, n, at + 2, 8, u + q8_0_words);
        break;
    case ALIGN_Q4_K:
    case ALIGN_Q5_K:
        turn_halves(r, n, at, u);
        turn_halves(r, n, at + 2, u + qk_least);
        turn_scales(r, n, at + 4, u + qk_scales, u + qk_leasts);
        if (type == ALIGN_Q5_K) turn_words(r, n, at + 16, 8, u + q5_k_high);
        turn_words(r, n, at + (type == ALIGN_Q5_K ? 48 : 16), 32, u + (type == ALIGN_Q5_K ? q5_k_words : q4_k_words));
        break;
    case ALIGN_Q6_K:
        turn_halves(r, n, at + 208, u);
        for (int i = 0; i < n; i++)
            for (int b = 0; b < 16; b++) u[q6_k_scales + b * L + i] = r[i][at + 192 + b];
        turn_words(r, n, at, 32, u + q6_k_words);
        turn_words(r, n, at + 128, 16, u + q6_k_high);
        break;
    }
}

static int stored_block_bytes(int type) {
    switch (type) {
    case ALIGN_Q4_K: return 144;
    case ALIGN_Q5_K: return 176;
    default: return panel_unit(type) / L;
    }
}

void align_panel_pack(int type, const void *const *rows, int count, int inputs, void *matrix, int panels, int index) {
    int units = inputs / panel_block(type), bytes = stored_block_bytes(type);
    ptrdiff_t stride;
    uint8_t *u = (uint8_t *)panel_start(type, matrix, panels, index, inputs, &stride);
    for (int i = 0; i < units; i++, u += stride) {
        if (count < L) memset(u, 0, (size_t)panel_unit(type));
        pack_unit(type, (const uint8_t *const *)rows, count, (ptrdiff_t)i * bytes, u);
    }
}

static float half_at(const uint8_t *p, int lane) {
    float value;
    align_dequantize(ALIGN_F16, p + 2 * lane, &value, 1);
    return value;
}
static uint32_t word_at(const uint8_t *p, int i, int lane) {
    uint32_t word;
    memcpy(&word, p + ((size_t)i * L + (size_t)lane) * 4, 4);
    return word;
}

// Element k of a unit: the scalar twin of panels.inc.
static float element(int type, const uint8_t *u, int lane, int k) {
    int j = 8 * (k % 4), quad = k / 4 % 8, b = k / 32;  // the byte in its word, the word in its 32, the 32 in its 256
    float d, least, value;
    switch (type) {
    case ALIGN_F32:
        memcpy(&value, u + 4 * lane, 4);
        return value;
    case ALIGN_F16: return half_at(u, lane);
    case ALIGN_BF16:
        align_dequantize(ALIGN_BF16, u + 2 * lane, &value, 1);
        return value;
    case ALIGN_Q4_0: return (float)((int)(word_at(u + q4_0_words, quad % 4, lane) >> (j + quad / 4 * 4) & 15) - 8) * half_at(u, lane);
    case ALIGN_Q4_1:
        value = (float)(word_at(u + q4_1_words, quad % 4, lane) >> (j + quad / 4 * 4) & 15) * half_at(u, lane);
        return value + half_at(u + q4_1_least, lane);
    case ALIGN_Q5_0: {
        int q = (int)(word_at(u + q5_0_words, quad % 4, lane) >> (j + quad / 4 * 4) & 15) | (int)(word_at(u + q5_0_high, 0, lane) >> k & 1) << 4;
        return (float)(q - 16) * half_at(u, lane);
    }
    case ALIGN_Q5_1: {
        int q = (int)(word_at(u + q5_1_words, quad % 4, lane) >> (j + quad / 4 * 4) & 15) | (int)(word_at(u + q5_1_high, 0, lane) >> k & 1) << 4;
        value = (float)q * half_at(u, lane);
        return value + half_at(u + q5_1_least, lane);
    }
    case ALIGN_Q8_0: return (float)(int8_t)(word_at(u + q8_0_words, quad, lane) >> j) * half_at(u, lane);
    case ALIGN_Q4_K:
    case ALIGN_Q5_K: {
        uint32_t q = word_at(u + (type == ALIGN_Q5_K ? q5_k_words : q4_k_words), 8 * (b / 2) + quad, lane) >> (j + 4 * (b & 1)) & 15;
        if (type == ALIGN_Q5_K) q |= (word_at(u + q5_k_high, quad, lane) >> (j + b) & 1) << 4;
        d = (float)u[qk_scales + b * L + lane] * half_at(u, lane);
        least = (float)u[qk_leasts + b * L + lane] * half_at(u + qk_least, lane);
        value = d * (float)q;
        return value - least;
    }
    case ALIGN_Q6_K: {
        int half = b / 4, part = b % 4;
        uint32_t low = word_at(u + q6_k_words, 16 * half + 8 * (part & 1) + quad, lane) >> (j + (part < 2 ? 0 : 4)) & 15;
        uint32_t high = word_at(u + q6_k_high, 8 * half + quad, lane) >> (j + 2 * part) & 3;
        d = half_at(u, lane) * (float)(int8_t)u[q6_k_scales + (8 * half + 2 * part + quad / 4) * L + lane];
        return d * (float)((int)(low | high << 4) - 32);
    }
    default: return 0;
    }
}

void align_panel_row(int type, const void *matrix, int panels, int row, int inputs, float *out) {
    int block = panel_block(type);
    ptrdiff_t stride;
    const uint8_t *u = panel_start(type, matrix, panels, row / L, inputs, &stride);
    for (int i = 0; i < inputs; i += block, u += stride)
        for (int k = 0; k < block; k++) out[i + k] = element(type, u, row % L, k);
}

extern const align_stored align_stored_table_portable;
#if defined(__x86_64__)
extern const align_stored align_stored_table_avx512, align_stored_table_avx2;
#endif

const align_stored *align_stored_for(int set) {
#if defined(__x86_64__)
    if (set == 0) return &align_stored_table_avx512;
    if (set == 1) return &align_stored_table_avx2;
#endif
    return set == 2 ? &align_stored_table_portable : 0;
}
