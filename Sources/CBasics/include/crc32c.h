// CRC-32C (Castagnoli, RFC 3720 appendix B.4): polynomial 0x1EDC6F41, reflected, initial value and final
// XOR 0xFFFFFFFF. SSE4.2 where the processor has it, the ARMv8 instruction where the compiler is told of it, else
// four bits at a time from a table of 16 words that fits one cache line.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint32_t quorate_crc32c_portable(uint32_t state, const uint8_t *bytes, size_t count) {
    static const uint32_t table[16] = {
        0x00000000, 0x105EC76F, 0x20BD8EDE, 0x30E349B1, 0x417B1DBC, 0x5125DAD3, 0x61C69362, 0x7198540D,
        0x82F63B78, 0x92A8FC17, 0xA24BB5A6, 0xB21572C9, 0xC38D26C4, 0xD3D3E1AB, 0xE330A81A, 0xF36E6F75,
    };
    for (size_t i = 0; i < count; i++) {
        state ^= bytes[i];
        state = (state >> 4) ^ table[state & 15];
        state = (state >> 4) ^ table[state & 15];
    }
    return state;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2")))
static inline uint32_t quorate_crc32c_hardware(uint32_t state, const uint8_t *bytes, size_t count) {
    uint64_t wide = state;
    while (count >= 8) {
        uint64_t word;
        memcpy(&word, bytes, 8);
        wide = __builtin_ia32_crc32di(wide, word);
        bytes += 8;
        count -= 8;
    }
    state = (uint32_t)wide;
    while (count > 0) {
        state = __builtin_ia32_crc32qi(state, *bytes);
        bytes += 1;
        count -= 1;
    }
    return state;
}
static inline int quorate_crc32c_has_hardware(void) { return __builtin_cpu_supports("sse4.2"); }
#elif defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
static inline uint32_t quorate_crc32c_hardware(uint32_t state, const uint8_t *bytes, size_t count) {
    while (count >= 8) {
        uint64_t word;
        memcpy(&word, bytes, 8);
        state = __crc32cd(state, word);
        bytes += 8;
        count -= 8;
    }
    while (count > 0) {
        state = __crc32cb(state, *bytes);
        bytes += 1;
        count -= 1;
    }
    return state;
}
static inline int quorate_crc32c_has_hardware(void) { return 1; }
#else
static inline uint32_t quorate_crc32c_hardware(uint32_t state, const uint8_t *bytes, size_t count) {
    return quorate_crc32c_portable(state, bytes, count);
}
static inline int quorate_crc32c_has_hardware(void) { return 0; }
#endif

// `crc` is the checksum of the bytes before these, 0 at the start; checksums of adjacent ranges chain.
static inline uint32_t quorate_crc32c(uint32_t crc, const void *bytes, size_t count) {
    uint32_t state = ~crc;
    state = quorate_crc32c_has_hardware() ? quorate_crc32c_hardware(state, (const uint8_t *)bytes, count)
                                          : quorate_crc32c_portable(state, (const uint8_t *)bytes, count);
    return ~state;
}
