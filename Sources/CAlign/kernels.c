#define _GNU_SOURCE
#include "include/kernels.h"
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#endif

extern const align_kernels align_kernels_table_portable;
#if defined(__x86_64__)
extern const align_kernels align_kernels_table_amx_base, align_kernels_table_avx512bf16, align_kernels_table_avx512, align_kernels_table_avx2;

typedef struct { uint32_t a, b, c, d; } leaf;
static leaf cpuid(uint32_t index, uint32_t sub) {
    leaf l = {0};
    __get_cpuid_count(index, sub, &l.a, &l.b, &l.c, &l.d);
    return l;
}
static uint64_t enabled_state(void) {
    if (!(cpuid(1, 0).c >> 27 & 1)) return 0;  // no OSXSAVE
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}
static int has_avx2(void) {
    return (enabled_state() & 0x6) == 0x6 && (cpuid(7, 0).b >> 5 & 1) && (cpuid(1, 0).c >> 12 & 1);
}
static int has_avx512(void) {
    uint32_t b = cpuid(7, 0).b;
    return (enabled_state() & 0xE6) == 0xE6 && has_avx2() && (b >> 16 & 1) && (b >> 17 & 1) && (b >> 30 & 1) && (b >> 31 & 1);
}

static sigjmp_buf escape;
static void on_illegal(int signal) { (void)signal; siglongjmp(escape, 1); }

// One small product against the portable twin. An illegal instruction (a hypervisor that announces what it does not
// deliver) counts as a wrong result.
static int proves_itself(const align_kernels *kernels) {
    enum { m = 37, n = 40, k = 70, kp = 96 };
    static float x[m * k], w[n * k], got[m * n], expected[m * n];
    static uint16_t a[m * kp], b[64 * kp], b_twin[64 * kp];
    for (int i = 0; i < m * k; i++) x[i] = (float)((i * 37) % 101) / 50 - 1;
    for (int i = 0; i < n * k; i++) w[i] = (float)((i * 53) % 97) / 48 - 1;
    const align_kernels *twin = &align_kernels_table_portable;
    struct sigaction act = {.sa_handler = on_illegal}, old;
    sigaction(SIGILL, &act, &old);
    volatile int ok = 0;
    if (sigsetjmp(escape, 1) == 0) {
        for (int i = 0; i < m; i++) kernels->to_bf16(x + i * k, a + i * kp, k, kp);
        kernels->pack_bf16(w, k, n, k, 0, b);
        twin->pack_bf16(w, k, n, k, 0, b_twin);
        kernels->gemm_bf16(a, kp, b, got, n, m, n, k, 0);
        twin->gemm_bf16(a, kp, b_twin, expected, n, m, n, k, 0);
        kernels->pack_bf16_ta(x, m, m, k, a);
        kernels->gemm_bf16_ta(a, b, got, n, m, n, k, 1);
        twin->pack_bf16_ta(x, m, m, k, a);
        twin->gemm_bf16_ta(a, b_twin, expected, n, m, n, k, 1);
        ok = 1;
        for (int i = 0; i < m * n; i++) {
            float d = got[i] - expected[i];
            if (!(d < 1e-2f && d > -1e-2f)) ok = 0;
        }
    }
    sigaction(SIGILL, &old, 0);
    return ok;
}
#endif

const align_kernels *align_kernels_for(int path, const char **reason) {
    const char *unused;
    if (!reason) reason = &unused;
    *reason = "";
    if (path == align_path_portable) return &align_kernels_table_portable;
#if defined(__x86_64__)
    switch (path) {
    case align_path_avx2:
        if (has_avx2()) return &align_kernels_table_avx2;
        *reason = "the processor or the system lacks AVX2 with FMA";
        return 0;
    case align_path_avx512:
        if (has_avx512()) return &align_kernels_table_avx512;
        *reason = "the processor or the system lacks AVX-512 (F, DQ, BW, VL)";
        return 0;
    case align_path_avx512bf16:
        if (!has_avx512() || !(cpuid(7, 1).a >> 5 & 1)) {
            *reason = "the processor or the system lacks AVX512_BF16";
            return 0;
        }
        if (proves_itself(&align_kernels_table_avx512bf16)) return &align_kernels_table_avx512bf16;
        *reason = "AVX512_BF16 is announced but its test product failed";
        return 0;
    case align_path_amx: {
        uint32_t d = cpuid(7, 0).d;
        if (!has_avx512() || !(d >> 22 & 1) || !(d >> 24 & 1)) {
            *reason = "the processor lacks AMX-BF16";
            return 0;
        }
        if ((enabled_state() >> 17 & 3) != 3) {
            *reason = "the system does not save AMX tiles (XCR0)";
            return 0;
        }
        if (syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18) != 0) {
            *reason = "the system refuses the use of AMX tiles";
            return 0;
        }
        if (proves_itself(&align_kernels_table_amx_base)) return &align_kernels_table_amx_base;
        *reason = "AMX is announced but its test product failed";
        return 0;
    }
    }
#endif
    *reason = "not built for this architecture";
    return 0;
}

void align_cpu_name(char name[64]) {
    strcpy(name, "unknown");
#if defined(__x86_64__)
    uint32_t words[12];
    if (cpuid(0x80000000, 0).a < 0x80000004) return;
    for (uint32_t i = 0; i < 3; i++) {
        leaf l = cpuid(0x80000002 + i, 0);
        words[4 * i] = l.a, words[4 * i + 1] = l.b, words[4 * i + 2] = l.c, words[4 * i + 3] = l.d;
    }
    memcpy(name, words, 48);
    name[48] = 0;
#endif
}

// Debian's OpenBLAS exports these; they are not in its header. Weak, so that another BLAS links too.
// Only the table of kernels is exchanged: gotoblas_quit would also unmap the library's buffers, and a second one (also that at the
// process's end) unmaps the same addresses again, whoever has them by then.
extern void gotoblas_dynamic_quit(void) __attribute__((weak));
extern void gotoblas_dynamic_init(void) __attribute__((weak));
extern void openblas_set_num_threads(int) __attribute__((weak));
extern char *openblas_get_corename(void) __attribute__((weak));

const char *align_blas_choose_core(const char *core) {
#if defined(__x86_64__)
    const char *asked = getenv("OPENBLAS_CORETYPE");
    if (!core && !(asked && *asked) && has_avx2()) core = has_avx512() ? "SkylakeX" : "Haswell";
    if (core && gotoblas_dynamic_quit && gotoblas_dynamic_init) {
        setenv("OPENBLAS_CORETYPE", core, 1);
        gotoblas_dynamic_quit();
        gotoblas_dynamic_init();
        // Programs started from here choose for themselves.
        unsetenv("OPENBLAS_CORETYPE");
    }
#endif
    if (openblas_set_num_threads) openblas_set_num_threads(1);
    return align_blas_core();
}

const char *align_blas_core(void) { return openblas_get_corename ? openblas_get_corename() : "unknown"; }
