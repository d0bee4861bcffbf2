// SQLite, as Swift sees it, and the call that tells what kind of file system a file lies on.
#pragma once
#include <sqlite3.h>
#if defined(__linux__)
#include <sys/vfs.h>
#endif
