// The layout of a panel: for each block of 32 (or 256) inputs one field after the other, each over the 32 lanes.
//
// Quants stay in the 32-bit words of the file, word i of every lane side by side: an instruction then yields the same
// element of 16 rows, and packing only turns words. Scales of six bits get a byte each.
#pragma once
#include "include/panels.h"
#include "include/quants.h"

enum { L = align_panel_lanes };

// Bytes from a unit's start to its fields; a unit is a block of all lanes.
enum {
    q4_0_words = 2 * L, q4_0_unit = q4_0_words + 16 * L,
    q4_1_least = 2 * L, q4_1_words = 4 * L, q4_1_unit = q4_1_words + 16 * L,
    q5_0_high = 2 * L, q5_0_words = 6 * L, q5_0_unit = q5_0_words + 16 * L,
    q5_1_least = 2 * L, q5_1_high = 4 * L, q5_1_words = 8 * L, q5_1_unit = q5_1_words + 16 * L,
    q8_0_words = 2 * L, q8_0_unit = q8_0_words + 32 * L,
    qk_least = 2 * L, qk_scales = 4 * L, qk_leasts = 12 * L,  // Q4_K and Q5_K: 8 scales and 8 minima
    q4_k_words = 20 * L, q4_k_unit = q4_k_words + 128 * L,
    q5_k_high = 20 * L, q5_k_words = 52 * L, q5_k_unit = q5_k_words + 128 * L,
    q6_k_scales = 2 * L, q6_k_words = 18 * L, q6_k_high = 146 * L, q6_k_unit = q6_k_high + 64 * L,
};

static inline int panel_block(int type) {  // inputs of a unit
    switch (type) {
    case ALIGN_F32: case ALIGN_F16: case ALIGN_BF16: return 1;
    case ALIGN_Q4_K: case ALIGN_Q5_K: case ALIGN_Q6_K: return 256;
    default: return 32;
    }
}

static inline int panel_unit(int type) {  // its bytes; 0 for an unknown type
    switch (type) {
    case ALIGN_F32: return 4 * L;
    case ALIGN_F16: case ALIGN_BF16: return 2 * L;
    case ALIGN_Q4_0: return q4_0_unit;
    case ALIGN_Q4_1: return q4_1_unit;
    case ALIGN_Q5_0: return q5_0_unit;
    case ALIGN_Q5_1: return q5_1_unit;
    case ALIGN_Q8_0: return q8_0_unit;
    case ALIGN_Q4_K: return q4_k_unit;
    case ALIGN_Q5_K: return q5_k_unit;
    case ALIGN_Q6_K: return q6_k_unit;
    default: return 0;
    }
}

// Where a panel's first unit lies, and how far it is to the next.
static inline const uint8_t *panel_start(int type, const void *matrix, int panels, int index, int inputs, ptrdiff_t *stride) {
    ptrdiff_t unit = panel_unit(type), bytes = inputs / panel_block(type) * unit;
    int paired = (index | 1) < panels;
    *stride = paired ? 2 * unit : unit;
    return (const uint8_t *)matrix + (index & ~1) * bytes + (paired ? (index & 1) * unit : 0);
}
