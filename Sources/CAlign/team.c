#include "include/team.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

// A loop is open from its start until its caller finds no index left. Only workers that enter while it is open are
// waited for: one that the system has put to sleep, or given another program's turn, holds nobody up.
struct align_team {
    int threads;
    pthread_t *workers;
    pthread_mutex_t turn;       // one loop at a time
    pthread_mutex_t mutex;      // guards sleeping, together with the conditions
    pthread_cond_t work, done;
    _Atomic uint64_t gate;      // number of the loop << 24 | open << 23 | workers that have entered it
    _Atomic int next;           // the next index to take
    _Atomic int left;           // workers that have entered and left
    _Atomic int sleepers, awaited;  // workers asleep; whether the caller is
    _Atomic int stop;
    int count;
    align_team_body body;
    void *context;
};

enum { is_open = 1 << 23, entered = is_open - 1 };

static _Thread_local int inside;

static void take(align_team *t) {
    for (;;) {
        int i = atomic_fetch_add_explicit(&t->next, 1, memory_order_relaxed);
        if (i >= t->count) return;
        t->body(t->context, i);
    }
}

static inline void pause_briefly(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

enum { spins = 8000 };  // about a tenth of a millisecond: longer than the gap between two products, shorter than a time slice

// Joins the loop that `gate` shows, if it is still open.
static int enter(align_team *t, uint64_t gate) {
    while (gate & is_open) {
        uint64_t now = gate;
        if (atomic_compare_exchange_weak(&t->gate, &now, gate + 1)) return 1;
        if (now >> 24 != gate >> 24) return 0;
        gate = now;
    }
    return 0;
}

static void *worker(void *argument) {
    align_team *t = argument;
    uint64_t seen = 0;
    inside = 1;
    for (;;) {
        for (int i = 0; i < spins && atomic_load_explicit(&t->gate, memory_order_relaxed) >> 24 == seen && !atomic_load_explicit(&t->stop, memory_order_relaxed); i++)
            pause_briefly();
        if (atomic_load(&t->gate) >> 24 == seen) {
            pthread_mutex_lock(&t->mutex);
            atomic_fetch_add(&t->sleepers, 1);
            while (atomic_load(&t->gate) >> 24 == seen && !atomic_load(&t->stop)) pthread_cond_wait(&t->work, &t->mutex);
            atomic_fetch_sub(&t->sleepers, 1);
            pthread_mutex_unlock(&t->mutex);
        }
        if (atomic_load(&t->stop)) return 0;
        uint64_t gate = atomic_load(&t->gate);
        seen = gate >> 24;
        if (!enter(t, gate)) continue;
        take(t);
        atomic_fetch_add(&t->left, 1);
        if (atomic_load(&t->awaited)) {
            pthread_mutex_lock(&t->mutex);
            pthread_cond_signal(&t->done);
            pthread_mutex_unlock(&t->mutex);
        }
    }
}

align_team *align_team_create(int threads) {
    align_team *t = calloc(1, sizeof *t);
    if (!t) return 0;
    t->threads = 1;
    t->workers = calloc((size_t)threads, sizeof *t->workers);
    pthread_mutex_init(&t->turn, 0);
    pthread_mutex_init(&t->mutex, 0);
    pthread_cond_init(&t->work, 0);
    pthread_cond_init(&t->done, 0);
    for (int i = 1; t->workers && i < threads; i++) {
        if (pthread_create(&t->workers[i], 0, worker, t) != 0) break;
        t->threads++;
    }
    if (t->threads == threads) return t;
    align_team_destroy(t);
    return 0;
}

void align_team_destroy(align_team *t) {
    pthread_mutex_lock(&t->mutex);
    atomic_store(&t->stop, 1);
    pthread_cond_broadcast(&t->work);
    pthread_mutex_unlock(&t->mutex);
    for (int i = 1; i < t->threads; i++) pthread_join(t->workers[i], 0);
    pthread_mutex_destroy(&t->turn);
    pthread_mutex_destroy(&t->mutex);
    pthread_cond_destroy(&t->work);
    pthread_cond_destroy(&t->done);
    free(t->workers);
    free(t);
}

void align_team_run(align_team *t, int count, align_team_body body, void *context) {
    if (count <= 0) return;
    if (inside || t->threads == 1 || count == 1) {
        for (int i = 0; i < count; i++) body(context, i);
        return;
    }
    pthread_mutex_lock(&t->turn);
    t->body = body;
    t->context = context;
    t->count = count;
    atomic_store(&t->next, 0);
    atomic_store(&t->left, 0);
    uint64_t loop = (atomic_load(&t->gate) >> 24) + 1;
    atomic_store(&t->gate, loop << 24 | is_open);
    if (atomic_load(&t->sleepers) > 0) {
        pthread_mutex_lock(&t->mutex);
        pthread_cond_broadcast(&t->work);
        pthread_mutex_unlock(&t->mutex);
    }
    inside = 1;
    take(t);
    inside = 0;
    int joined = (int)(atomic_fetch_and(&t->gate, ~(uint64_t)is_open) & entered);
    for (int i = 0; i < spins && atomic_load_explicit(&t->left, memory_order_acquire) < joined; i++) pause_briefly();
    if (atomic_load(&t->left) < joined) {
        pthread_mutex_lock(&t->mutex);
        atomic_store(&t->awaited, 1);
        while (atomic_load(&t->left) < joined) pthread_cond_wait(&t->done, &t->mutex);
        atomic_store(&t->awaited, 0);
        pthread_mutex_unlock(&t->mutex);
    }
    pthread_mutex_unlock(&t->turn);
}
