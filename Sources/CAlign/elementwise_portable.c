#define W 4
#define FN(name) align_##name##_portable
#define SET_NAME "portable"
#include "elementwise.inc"
