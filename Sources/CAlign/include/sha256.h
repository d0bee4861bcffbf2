// SHA-256 (FIPS 180-4), with the processor's own instructions where it has them.
#pragma once
#include <stddef.h>
#include <stdint.h>

// Takes whole blocks of 64 bytes into the state.
void align_sha256_blocks(uint32_t state[8], const uint8_t *data, size_t blocks);
// The same in plain C, whatever the processor has: for comparison.
void align_sha256_blocks_portable(uint32_t state[8], const uint8_t *data, size_t blocks);
