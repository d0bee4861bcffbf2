#include "include/team.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

struct align_team {
    int threads;
    pthread_t *workers;
    pthread_mutex_t turn;   // one loop at a time
    pthread_mutex_t mutex;  // guards what follows, together with the conditions
    pthread_cond_t work, done;
    _Atomic uint64_t loop;  // number of the current loop; workers wait for it to change
    _Atomic int next, left; // next index to take; workers still busy with the loop
    int stop, count;
    align_team_body body;
    void *context;
};

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

enum { spins = 4000 };  // some tens of microseconds: longer than the gap between two products, shorter than a time slice

static void *worker(void *argument) {
    align_team *t = argument;
    uint64_t seen = 0;
    inside = 1;
    for (;;) {
        for (int i = 0; i < spins && atomic_load_explicit(&t->loop, memory_order_acquire) == seen; i++) pause_briefly();
        if (atomic_load_explicit(&t->loop, memory_order_acquire) == seen) {
            pthread_mutex_lock(&t->mutex);
            while (atomic_load(&t->loop) == seen && !t->stop) pthread_cond_wait(&t->work, &t->mutex);
            int stop = t->stop;
            pthread_mutex_unlock(&t->mutex);
            if (stop) return 0;
        }
        seen = atomic_load_explicit(&t->loop, memory_order_acquire);
        if (t->stop) return 0;
        take(t);
        if (atomic_fetch_sub_explicit(&t->left, 1, memory_order_acq_rel) == 1) {
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
    t->stop = 1;
    atomic_fetch_add(&t->loop, 1);
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
    atomic_store(&t->left, t->threads - 1);
    pthread_mutex_lock(&t->mutex);
    atomic_fetch_add_explicit(&t->loop, 1, memory_order_release);
    pthread_cond_broadcast(&t->work);
    pthread_mutex_unlock(&t->mutex);
    inside = 1;
    take(t);
    inside = 0;
    for (int i = 0; i < spins && atomic_load_explicit(&t->left, memory_order_acquire) > 0; i++) pause_briefly();
    if (atomic_load_explicit(&t->left, memory_order_acquire) > 0) {
        pthread_mutex_lock(&t->mutex);
        while (atomic_load(&t->left) > 0) pthread_cond_wait(&t->done, &t->mutex);
        pthread_mutex_unlock(&t->mutex);
    }
    pthread_mutex_unlock(&t->turn);
}
