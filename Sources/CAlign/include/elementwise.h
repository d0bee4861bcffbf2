// The arithmetic of a step that is not a matrix product: norms, rotations, activations, softmax, the optimizer.
//
// Every function works on the calling thread and on the rows it is given; callers split rows. Sums run in an order
// that depends on the length of the summed axis alone, so a row's bits never depend on its neighbours.
// There is one table per instruction set (`align_elementwise_for`), all compiled from elementwise.inc.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "kernels.h"

typedef struct align_adamw {
    float learning_rate, beta1, beta2, epsilon, weight_decay;
    float gradient_scale;             // multiplies the gradient first: clipping
    float complement1, complement2;   // 1 - beta1, 1 - beta2, rounded once
    float correction1, correction2;   // 1 - beta1^t, 1 - beta2^t
} align_adamw;

// A row's running softmax over blocks of the vocabulary: sums of e^(z - top), of e^(z - top) (z - top), of e^(2 (z - top)) and of z.
typedef struct align_cross_entropy {
    double sum, weighted, squares, logits, target_logit;
    float top;        // start at -INFINITY
    int32_t argmax;   // lowest index of the largest logit
    int64_t columns;  // taken in so far
} align_cross_entropy;

// One segment's attention: its own rows and the key ranges of its ancestors, root first, its own range last.
typedef struct align_attention_segment {
    int32_t query_start, query_count;  // rows of the pack
    int32_t ranges;                    // number of key ranges, the last being the segment itself
    const int32_t *range_start, *range_count;
} align_attention_segment;

typedef struct align_attention {
    const void *q, *k, *v;        // fp32, or bf16 for the _half functions; each row of the pack holds heads side by side
    ptrdiff_t q_stride, kv_stride;
    int32_t heads, kv_heads, head_size;
    float scale, soft_cap;        // soft_cap 0: none
    int32_t window;               // keys seen, the query's own included; 0: all
} align_attention;

typedef struct align_elementwise {
    const char *name;
    void (*rmsnorm)(const float *x, ptrdiff_t ldx, const float *w, float *y, ptrdiff_t ldy, float *inverse, int rows, int d, float epsilon);
    // dx += the norm's backward; dw [d] += the rows' share.
    void (*rmsnorm_backward)(const float *dy, ptrdiff_t lddy, const float *x, ptrdiff_t ldx, const float *w, const float *inverse,
                             float *dx, ptrdiff_t lddx, float *dw, int rows, int d);
    // Half layout: pairs (i, i + half). sign +1 rotates, -1 rotates back. Tables are [position][half].
    void (*rope)(float *x, ptrdiff_t ld, const int32_t *positions, const float *cosines, const float *sines, int rows, int heads,
                 int head_size, int half, float sign);
    // h = act(gate) * up for rows [gate | up] of 2 * d. kind 0: SiLU, 1: GELU (tanh).
    void (*gated)(const float *gate_up, ptrdiff_t ld, float *h, ptrdiff_t ldh, int rows, int d, int kind);
    // d_gate_up may be gate_up itself. h, unless NULL, takes the forward's result, and may be dh itself.
    void (*gated_backward)(const float *dh, ptrdiff_t lddh, const float *gate_up, ptrdiff_t ld, float *d_gate_up, ptrdiff_t ldd,
                           float *h, ptrdiff_t ldh, int rows, int d, int kind);
    void (*add)(const float *x, float *y, size_t n);                        // y += x
    void (*sum)(const float *x, const float *y, float *out, size_t n);  // out = x + y
    void (*scale)(float *x, float factor, size_t n);
    double (*sum_of_squares)(const float *x, size_t n);
    double (*dot)(const float *x, const float *y, size_t n);
    // Takes one block of a row's logits, columns [first, first + v), into the row's running statistics, and returns the
    // largest. keeps: logits become e^(logit - largest).
    float (*cross_entropy_block)(float *logits, int v, int32_t first, int32_t target, align_cross_entropy *state, int keeps);
    // g becomes 0.
    void (*adamw)(float *w, float *g, float *m, float *v, size_t n, const align_adamw *step);
    // out rows of the segment for the query heads of kv head `group`; lse [heads][lse_stride] takes log-sum-exp per row.
    // scratch: align_attention_scratch floats. out and d_out are of q's type; products are those of `kernels`.
    void (*attention)(const align_attention *a, const align_attention_segment *s, int group, void *out, ptrdiff_t out_stride,
                      float *lse, ptrdiff_t lse_stride, float *scratch, const align_kernels *kernels);
    // Adds to dk and dv of every key range and writes dq of the segment's rows.
    void (*attention_backward)(const align_attention *a, const align_attention_segment *s, int group, const void *out, const void *d_out,
                               ptrdiff_t out_stride, const float *lse, ptrdiff_t lse_stride, float *dq, float *dk, float *dv,
                               ptrdiff_t dq_stride, ptrdiff_t dkv_stride, float *scratch, const align_kernels *kernels);
    // The same with bf16 operands.
    void (*attention_half)(const align_attention *a, const align_attention_segment *s, int group, void *out, ptrdiff_t out_stride,
                           float *lse, ptrdiff_t lse_stride, float *scratch, const align_kernels *kernels);
    void (*attention_backward_half)(const align_attention *a, const align_attention_segment *s, int group, const void *out, const void *d_out,
                                    ptrdiff_t out_stride, const float *lse, ptrdiff_t lse_stride, float *dq, float *dk, float *dv,
                                    ptrdiff_t dq_stride, ptrdiff_t dkv_stride, float *scratch, const align_kernels *kernels);
} align_elementwise;

enum { align_attention_block = 64 };  // query rows treated together
// Floats of scratch that attention (backward = 0) or its backward (1) needs for a chain of `keys` keys, whatever the type.
size_t align_attention_scratch(int keys, int head_size, int backward);

// set: 0 AVX-512, 1 AVX2 with FMA, 2 portable. NULL where this build or architecture has it not.
const align_elementwise *align_elementwise_for(int set);
