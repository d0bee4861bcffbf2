#define W 4
#define TILE 1
#define PAIR 1
#define TILE_CASES(x) CASE(1, x)
#define FN(name) align_##name##_portable
#define SET_NAME "portable"
#include "panels.inc"
