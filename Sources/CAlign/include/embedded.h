// Files that the binary carries, so that it stands alone wherever it is moved.
#pragma once

// The store's migrations, from 1 on; NULL past the last.
const char *align_migration(int number);

// The plan of a study, JSON; NULL for a name that is none.
const char *align_study_plan(const char *name);
