// Products straight from stored weights: halves, bfloat16 and ggml's blocks, in panels of 32 outputs.
//
// A panel holds the blocks of 32 rows of W side by side, lane by lane, in about the bytes they take in a file; they are
// turned into floats in registers, where they are multiplied. Two neighbours take turns, block by block: one row of x
// needs the sums of both to keep the multipliers busy, and memory is read fastest in one stream. A weight's value is, to the bit, what align_dequantize
// gives; each element of y is one chain of fused multiply-adds over the inputs, in their order, from zero, as in
// kernels.h: its bits depend on neither its neighbours nor the number of rows.
#pragma once
#include <stddef.h>
#include <stdint.h>

enum { align_panel_lanes = 32 };

// Bytes of one panel of rows of `inputs` weights. 0 for a type that quants.h does not list, or inputs that are not whole blocks.
size_t align_panel_bytes(int type, int inputs);
// Turns up to 32 rows, as stored, into panel `index` of the `panels` that begin at `matrix`; what has no row becomes zero.
void align_panel_pack(int type, const void *const *rows, int count, int inputs, void *matrix, int panels, int index);
// The weights of one row.
void align_panel_row(int type, const void *matrix, int panels, int row, int inputs, float *out);

// Keys and values of one layer as decoding reads them. `k` is [rows/32][kv_heads][head_size][32], `v` [rows/32][kv_heads][32][head_size].
typedef struct align_cache_layer {
    const void *k, *v;
    int32_t half;  // whether they are bf16; else fp32
    int32_t kv_heads, head_size;
    float scale, soft_cap;  // soft_cap 0: none
    int32_t window;         // keys seen, the query's own included; 0: all
} align_cache_layer;

typedef struct align_row_range { int32_t start, count; } align_row_range;  // start: a multiple of 32

typedef struct align_stored {
    const char *name;
    // y [rows x outputs] (+)= x . W^T for the outputs from panel `first` on.
    void (*product)(int type, const void *matrix, int panels, int first, int inputs, const float *x, ptrdiff_t ldx, float *y, ptrdiff_t ldy, int rows, int outputs,
                    int accumulate);
    // Weights of panel `index` for inputs [first, first + count), as [count][32]; first is a multiple of 32. What has no row is zero.
    void (*expand)(int type, const void *matrix, int panels, int index, int inputs, int first, int count, float *out);
    // One query against the keys of `ranges`, for the `heads` query heads of a key/value head: q and out are [heads][head_size].
    // scores: heads * (keys + 32) floats. The sums are those of attention.inc.
    void (*attend)(const align_cache_layer *layer, int group, int heads, const float *q, const align_row_range *ranges, int count, float *out, float *scores);
    // weights (where not NULL) <- e^((z - max z) inverse); returns their sum. *best: the first index of the largest.
    double (*softmax_weights)(const float *z, int n, float inverse, float *weights, int *best);
    // The values >= least, in order, with their indices; returns how many there are, and writes at most `limit`.
    int (*at_least)(const float *w, int n, float least, int limit, float *values, int32_t *indices);
} align_stored;

// set: 0 AVX-512, 1 AVX2 with FMA, 2 portable. NULL where this build or architecture has it not.
const align_stored *align_stored_for(int set);
