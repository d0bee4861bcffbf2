#include "include/embedded.h"

#include <string.h>

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

static const char best_of_n[] = {
#embed "../../Evaluations/studies/best-of-n.json"
    , 0};

static const char over_optimisation[] = {
#embed "../../Evaluations/studies/over-optimisation.json"
    , 0};
static const char mirror_descent[] = {
#embed "../../Evaluations/studies/mirror-descent.json"
    , 0};

const char *align_study_plan(const char *name) {
    static const struct { const char *name, *text; } plans[] = {
        {"best-of-n", best_of_n}, {"over-optimisation", over_optimisation}, {"mirror-descent", mirror_descent}};
    for (size_t i = 0; i < sizeof plans / sizeof *plans; i++)
        if (!strcmp(plans[i].name, name)) return plans[i].text;
    return 0;
}
