#include "include/sqlite.h"
