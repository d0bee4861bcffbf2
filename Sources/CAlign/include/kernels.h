// Matrix products, and which of their versions this machine runs.
//
// One scheme serves every version: C [m x n] (+)= A . B, with A read where it lies, row by row, and B packed in panels
// of 32 columns. Each element of C is one chain of sums over the contraction index, in index order, from zero; what was
// in C is added at the end. Its bits depend on neither m, n nor the element's place: rows may be cut anywhere.
#pragma once
#include <stddef.h>
#include <stdint.h>

enum { align_panel = 32 };  // columns of one panel

typedef struct align_kernels {
    const char *name;
    int tile;  // rows that the innermost loop takes together: row blocks do well to be multiples of it
    // B packed as [n/32][k][32]; columns past n are zero. Element (k, n) of B is src[n * ld + k], or src[k * ld + n] if transposed.
    void (*pack_f32)(const float *src, ptrdiff_t ld, int n, int k, int transposed, float *dst);
    // packed_k: the k that B was packed with; k may be less, its first ones.
    void (*gemm_f32)(const float *a, ptrdiff_t lda, const float *packed, int packed_k, float *c, ptrdiff_t ldc, int m, int n, int k, int accumulate);
    // A is given transposed: element (m, k) is a[k * lda + m].
    void (*gemm_f32_ta)(const float *a, ptrdiff_t lda, const float *packed, float *c, ptrdiff_t ldc, int m, int n, int k, int accumulate);
    // bf16: k is padded with zeros to a multiple of 32, in A's rows by the caller and in B here; panels are [k/2][32][2].
    // B is weights: rounded at thresholds around the middle (kernels.inc says why), NaN and what bf16 holds kept.
    void (*pack_bf16)(const float *src, ptrdiff_t ld, int n, int k, int transposed, uint16_t *dst);
    void (*gemm_bf16)(const uint16_t *a, ptrdiff_t lda, const uint16_t *packed, float *c, ptrdiff_t ldc, int m, int n, int k, int accumulate);
    // Rounds to nearest even, keeps NaN; dst[count ..< padded] becomes zero.
    void (*to_bf16)(const float *src, uint16_t *dst, int count, int padded);
    // The same, rounding as pack_bf16 does.
    void (*settle)(const float *src, uint16_t *dst, int count, int padded);
    // A given transposed, element (m, k) being src[k * ld + m]: packed for gemm_bf16_ta, m * (k rounded up to 32) values.
    void (*pack_bf16_ta)(const float *src, ptrdiff_t ld, int m, int k, uint16_t *dst);
    void (*gemm_bf16_ta)(const uint16_t *a, const uint16_t *packed, float *c, ptrdiff_t ldc, int m, int n, int k, int accumulate);
    // The same two packings of values that are bf16 already, element (k, n) or (m, k) being src[k * ld + n] or src[k * ld + m].
    void (*pack_half)(const uint16_t *src, ptrdiff_t ld, int n, int k, uint16_t *dst);
    void (*pack_half_ta)(const uint16_t *src, ptrdiff_t ld, int m, int k, uint16_t *dst);
    void (*from_bf16)(const uint16_t *src, float *dst, int count);
} align_kernels;

static inline size_t align_packed_f32(int n, int k) { return (size_t)((n + 31) / 32) * 32 * (size_t)k; }
static inline size_t align_packed_bf16(int n, int k) { return (size_t)((n + 31) / 32) * 32 * (size_t)((k + 31) / 32 * 32); }

// Best first. The numbers are KernelPath's in Tensors.
enum { align_path_amx, align_path_avx512bf16, align_path_avx512, align_path_avx2, align_path_portable, align_paths };
// NULL where the processor, the system or this build cannot run it; *reason then says why, in words.
const align_kernels *align_kernels_for(int path, const char **reason);
// The processor's own name, or "unknown".
void align_cpu_name(char name[64]);
// Core type for OpenBLAS that goes with the processor: OpenBLAS 0.3.21 knows no processor newer than itself and then
// falls back to its slowest kernels. `core` NULL: OPENBLAS_CORETYPE if set, else the processor's. No BLAS product may be
// running; products are single-threaded from here on. Returns the name of the kernels in use.
const char *align_blas_choose_core(const char *core);
// The kernels OpenBLAS uses, or "unknown" for another BLAS.
const char *align_blas_core(void);
