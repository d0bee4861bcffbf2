#include "include/embedded.h"

static const char migration_1[] = {
#embed "../../PreferenceData/Migrations/0001.sql"
    , 0};
static const char migration_2[] = {
#embed "../../PreferenceData/Migrations/0002.sql"
    , 0};
static const char migration_3[] = {
#embed "../../PreferenceData/Migrations/0003.sql"
    , 0};

const char *align_migration(int number) {
    static const char *const migrations[] = {migration_1, migration_2, migration_3};
    int count = sizeof migrations / sizeof *migrations;
    return number >= 1 && number <= count ? migrations[number - 1] : 0;
}
