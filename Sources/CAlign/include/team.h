// A persistent team of threads that share out the indices of one loop at a time.
#pragma once

typedef struct align_team align_team;
typedef void (*align_team_body)(void *context, int index);

// threads counts the caller; NULL if the threads cannot be started.
align_team *align_team_create(int threads);
void align_team_destroy(align_team *team);
// Calls body(context, i) once for each i in 0 ..< count, on any thread, and returns when all are done.
// A call from inside a body runs on the calling thread; calls from several threads wait for each other.
void align_team_run(align_team *team, int count, align_team_body body, void *context);
