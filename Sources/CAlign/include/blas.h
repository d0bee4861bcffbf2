// OpenBLAS, as Swift sees it.
#pragma once
#include <cblas.h>
